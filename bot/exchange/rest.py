"""History, instruments, funding and mark prices over REST: each answer examined before it is believed."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal

import structlog
from msgspec.structs import replace

from bot.errors import ConfigError, FeedError
from bot.exchange import plausible, rest_rows
from bot.exchange.client import Banned, NoSuchRoute, RequestRefused, RestClient
from bot.exchange.config import ExchangeConfig
from bot.exchange.plausible import MalformedFrame, shown
from bot.exchange.proxy import Proxy
from bot.market import (
    CLOSED,
    GONE,
    INTERVAL_MS,
    Bar,
    BarSource,
    Category,
    Instrument,
    Listing,
    RiskTier,
    grid_start_ms,
    settlement_ms,
)

__all__ = ["PAGE_BARS", "Banned", "BybitRest", "NoSuchRoute", "RequestRefused"]

_log = structlog.get_logger()

PAGE_BARS = 1000
"""Bybit's largest page of klines."""
_PAGE_FUNDING = 200
_FUNDING_WINDOW_MS = 7 * 86_400_000
_STAMP_MS = 30_000

_STATUSES = ("", "PreLaunch", "Delivering", "Closed")
"""Without a status named, the exchange tells of symbols that are traded."""

_PATIENT_LOOKS = 3


class BybitRest:
    """Bybit's public REST endpoints for one category. Everything it raises is a FeedError.

    Answers that may pass (timeouts, gateways, limits, broken JSON) are tried again a few times; who calls it
    decides whether to go on after that, and a :class:`RequestRefused` is for good. ``base_url`` is the host part.
    ``on_ban`` is told once when the exchange bans the address, ``on_refused`` of each row (symbol, what was
    wrong) that cannot be and is left out. All goes through the ``proxy``, if any.
    """

    def __init__(
        self,
        base_url: str,
        category: Category,
        on_ban: Callable[[str], None] | None = None,
        config: ExchangeConfig | None = None,
        *,
        proxy: Proxy | None = None,
    ) -> None:
        config = ExchangeConfig() if config is None else config
        self.category = category
        self.proxy = proxy
        self.on_refused: Callable[[str, str], None] = _log_refused
        self._max_rows = config.max_page_rows
        self._client = RestClient(base_url, config, on_ban, proxy)
        self.host = base_url

    async def __aenter__(self) -> "BybitRest":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    @property
    def times(self) -> plausible.TimeBounds:
        """The bounds of the exchange's time."""
        return self._client.times

    async def time_ms(self) -> int:
        """The exchange's clock."""
        return _time(await self._client.get("Time", {}))

    async def instruments(self, symbols: tuple[str, ...]) -> dict[str, Instrument]:
        """The rules of each symbol, on linear with its risk tiers.

        Raises ConfigError for one that the exchange does not trade.
        """
        found: dict[str, Instrument] = {}
        for symbol in symbols:
            try:
                answer = await self._client.get(
                    "InstrumentsInfo", {"category": self.category, "symbol": symbol}
                )
            except NoSuchRoute:
                raise
            except RequestRefused as error:
                raise _unknown(symbol, self.category) from error
            rows = [
                row
                for row in self._rows(answer, symbol)
                if isinstance(row, dict) and row.get("symbol") == symbol
            ]
            if not rows:
                raise _unknown(symbol, self.category)
            rules = self._rules(rows[0], answer)
            found[symbol] = replace(rules, tiers=await self._risk_tiers(symbol))
        return found

    async def instrument(self, symbol: str) -> Instrument | None:
        """The rules of a symbol, whatever its status; None where the exchange knows no such symbol."""
        # An empty answer alone says nothing.
        for look in range(_PATIENT_LOOKS):
            await asyncio.sleep(0.2 * look)
            for status in _STATUSES:
                found = await self._listed(symbol, status)
                if found is not None:
                    return replace(found, tiers=await self._risk_tiers(symbol))
        return None

    async def _listed(self, symbol: str, status: str) -> Instrument | None:
        """The rules of a symbol among those of one status."""
        asked = {"category": self.category, "symbol": symbol} | ({"status": status} if status else {})
        try:
            answer = await self._client.get("InstrumentsInfo", asked)
        except NoSuchRoute:
            raise
        except RequestRefused:
            return None
        rows = [
            row for row in self._rows(answer, symbol) if isinstance(row, dict) and row.get("symbol") == symbol
        ]
        return self._rules(rows[0], answer) if rows else None

    def _rules(self, row: dict[str, Any], answer: dict[str, Any]) -> Instrument:
        try:
            return rest_rows.instrument(row, self.category, _time(answer))
        except MalformedFrame as error:
            raise FeedError(str(error)) from error
        except rest_rows.InverseContract as error:
            raise ConfigError(
                f"run.symbols: {error} is an inverse contract, settled in its own coin; only linear contracts, as "
                "BTCUSDT and BTCPERP, and spot are traded here"
            ) from error

    async def listing(self, symbol: str, rules: Instrument | None) -> Listing:
        """Whether a symbol of these rules (None: unknown) trades, and where it is delivered, at which price."""
        now_ms = await self.time_ms()
        if rules is None:
            return Listing(symbol=symbol, time_ms=now_ms, status=GONE)
        price = await self._delivery_price(symbol) if rules.status == CLOSED else None
        return Listing(
            symbol=symbol, time_ms=now_ms, status=rules.status, delivery_ms=rules.delivery_ms, price=price
        )

    async def _delivery_price(self, symbol: str) -> Decimal | None:
        """What a contract was delivered at, None where the exchange names no price."""
        if self.category == "spot":
            return None
        try:
            answer = await self._client.get("DeliveryPrice", {"category": self.category, "symbol": symbol})
            return rest_rows.delivery_price(self._rows(answer, symbol), symbol)
        except RequestRefused:
            return None
        except MalformedFrame as error:
            self.on_refused(symbol, f"delivery price: {error}")
            return None

    async def _risk_tiers(self, symbol: str) -> tuple[RiskTier, ...]:
        if self.category == "spot":
            return ()
        try:
            answer = await self._client.get("RiskLimit", {"category": self.category, "symbol": symbol})
            return rest_rows.risk_tiers(self._rows(answer, symbol), symbol)
        except (RequestRefused, MalformedFrame) as error:
            # Margin falls back on its defaults; not every server that speaks the protocol has tiers.
            _log.warning("risk_tiers_unknown", symbol=symbol, error=str(error))
            return ()

    async def bars(
        self, symbol: str, interval: str, first_ms: int, last_ms: int, source: BarSource
    ) -> tuple[list[Bar], list[str], int]:
        """Closed bars with starts in [first_ms, last_ms], at most one page, ascending.

        Returns the bars, what was wrong with rows that contradict themselves, and the newest start that
        the answer shows at all (one past ``last_ms`` is asked for), 0 where it was empty: a bar that is
        absent although a later one shows was not published (yet); an empty answer says nothing.
        """
        step = self.times.interval_ms = INTERVAL_MS[interval]
        # One bar more than asked: its presence proves that the answer reaches the end of the range.
        end_ms = min(last_ms, first_ms + (PAGE_BARS - 2) * step) + step
        answer = await self._client.get(
            "Kline",
            {
                "category": self.category, "symbol": symbol, "interval": interval,
                "start": first_ms, "end": end_ms, "limit": PAGE_BARS,
            },
        )  # fmt: skip
        now_ms = _time(answer)
        bars: dict[int, Bar] = {}
        refused: list[str] = []
        newest = 0
        for row in self._rows(answer, symbol):
            try:
                start_ms = _start(row, interval, now_ms)
                if start_ms > end_ms:
                    raise MalformedFrame(f"the start {start_ms} lies behind what was asked for")
                bar = rest_rows.bar_from_row(row, symbol, interval, source)
            except MalformedFrame as error:
                refused.append(f"{error} in {shown(row)}")
                continue
            newest = max(newest, bar.start_ms)
            # Nothing in a row says that the bar is still open; only the clock does.
            if first_ms <= bar.start_ms < end_ms and bar.close_ms <= now_ms:
                bars[bar.start_ms] = bar
        return [bars[start] for start in sorted(bars)], refused, newest

    async def newest_closed(self, symbol: str, interval: str) -> int | None:
        """Start of the newest bar that has closed; None where the answer shows none (which says nothing)."""
        step = self.times.interval_ms = INTERVAL_MS[interval]
        answer = await self._client.get(
            "Kline", {"category": self.category, "symbol": symbol, "interval": interval, "limit": 2}
        )
        newest = max(self._starts(answer, symbol, interval), default=None)
        if newest is None:
            return None
        # The first row is normally the bar that is still open. A clock that is a whole bar further on
        # disagrees with the bars, and then they count: a later one shows that an earlier has closed.
        closed = newest + step <= _time(answer) < newest + 2 * step
        return newest if closed else newest - step

    async def first_start(self, symbol: str, interval: str, from_ms: int) -> int | None:
        """Start of the oldest bar at or after ``from_ms``; None where none is shown (which says nothing)."""
        answer = await self._client.get(
            "Kline",
            {
                "category": self.category, "symbol": symbol, "interval": interval,
                # Without an end, the oldest rows from the start on. The spare one makes up for a row that
                # holds ``from_ms`` but begins before it.
                "start": from_ms, "limit": 2,
            },
        )  # fmt: skip
        starts = self._starts(answer, symbol, interval)
        return min((start for start in starts if start >= from_ms), default=None)

    async def funding(self, symbol: str, since_ms: int | None, until_ms: int) -> list[tuple[int, Decimal]]:
        """Settled rates as (scheduled time, rate) in (since_ms, until_ms], ascending; without since the newest page.

        An empty answer says nothing. The range is asked for by the week, which no interval fills a page with.
        """
        if since_ms is None:
            return _by_settlement(await self._funding_page(symbol, {}))
        stamped: dict[int, Decimal] = {}
        # A stamp may lie beside its settlement, on either side of the range's ends.
        end_ms = until_ms + _STAMP_MS
        for first_ms in range(since_ms + 1 - _STAMP_MS, end_ms + 1, _FUNDING_WINDOW_MS):
            last_ms = min(first_ms + _FUNDING_WINDOW_MS - 1, end_ms)
            while True:
                page = await self._funding_page(symbol, {"startTime": max(0, first_ms), "endTime": last_ms})
                fresh = {at: rate for at, rate in page.items() if first_ms <= at <= last_ms}
                stamped |= fresh
                if not fresh or len(page) < _PAGE_FUNDING:
                    break
                last_ms = min(fresh) - 1
        return [(at, rate) for at, rate in _by_settlement(stamped) if since_ms < at <= until_ms]

    async def _funding_page(self, symbol: str, span: dict[str, int]) -> dict[int, Decimal]:
        query = {"category": self.category, "symbol": symbol, "limit": _PAGE_FUNDING, **span}
        page: dict[int, Decimal] = {}
        for row in self._rows(await self._client.get("FundingHistory", query), symbol):
            try:
                at, rate = rest_rows.funding_rate(row, symbol)
            except MalformedFrame as error:
                self.on_refused(symbol, f"funding over REST: {error}")
                continue
            page[at] = rate
        return page

    async def minute_price(
        self, symbol: str, source: Literal["mark", "index"], time_ms: int
    ) -> Decimal | None:
        """The mark or index price at a full minute: the open of that minute's bar, None if not shown."""
        endpoint = "MarkPriceKline" if source == "mark" else "IndexPriceKline"
        span = {"start": time_ms, "end": time_ms, "limit": 1}
        return await self._kline_figure(endpoint, symbol, "1", span, time_ms, 1)

    async def close_before(self, symbol: str, interval: str, time_ms: int) -> Decimal | None:
        """The close of the last bar that ended at ``time_ms`` or before; None if none is shown."""
        last_ms = grid_start_ms(time_ms, interval) - INTERVAL_MS[interval]
        return await self._kline_figure("Kline", symbol, interval, {"end": last_ms, "limit": 1}, last_ms, 4)

    async def _kline_figure(
        self, endpoint: str, symbol: str, interval: str, span: dict[str, int], last_ms: int, place: int
    ) -> Decimal | None:
        """A figure of the newest bar up to ``last_ms``, or where the span has a start of the bar there."""
        query = {"category": self.category, "symbol": symbol, "interval": interval, **span}
        try:
            answer = await self._client.get(endpoint, query)
        except RequestRefused:
            return None
        prices: dict[int, Decimal] = {}
        for row in self._rows(answer, symbol):
            try:
                prices[rest_rows.row_start_ms(row)] = rest_rows.row_price(row, place)
            except MalformedFrame as error:
                self.on_refused(symbol, f"price over REST: {error}")
        shown_at = [at for at in prices if span.get("start", at) <= at <= last_ms]
        return prices[max(shown_at)] if shown_at else None

    def _rows(self, answer: dict[str, Any], symbol: str) -> list[Any]:
        """The rows of an answer about a symbol."""
        result = answer["result"]
        for name, asked in (("symbol", symbol), ("category", self.category)):
            if result.get(name, asked) != asked:
                raise FeedError(f"{self.host}: an answer about {shown(result[name])}, not {asked}")
        rows = result.get("list")
        if not isinstance(rows, list):
            return []
        if len(rows) > self._max_rows:
            raise FeedError(
                f"{self.host}: a page of {len(rows)} rows, above {self._max_rows} (exchange.max_page_rows)"
            )
        return rows

    def _starts(self, answer: dict[str, Any], symbol: str, interval: str) -> list[int]:
        """Starts of the bars that an answer shows; those that cannot be are left out."""
        starts, now_ms = [], _time(answer)
        for row in self._rows(answer, symbol):
            try:
                starts.append(_start(row, interval, now_ms))
            except MalformedFrame as error:
                self.on_refused(symbol, f"bar over REST: {error}")
        return starts


def _start(row: Any, interval: str, now_ms: int) -> int:
    """The start of a row's bar, which has begun. Raises MalformedFrame."""
    start_ms = rest_rows.row_start_ms(row)
    if start_ms != grid_start_ms(start_ms, interval):
        raise MalformedFrame(f"the start {start_ms} is off the interval's grid")
    # A clock that is a bar behind disagrees with the bars, and then they count.
    if start_ms > now_ms + INTERVAL_MS[interval]:
        raise MalformedFrame(f"the start {start_ms} lies in the exchange's future")
    return start_ms


def _log_refused(symbol: str, what: str) -> None:
    _log.warning("refused", symbol=symbol, detail=what)


def _by_settlement(stamped: dict[int, Decimal]) -> list[tuple[int, Decimal]]:
    """Rates by their scheduled times, ascending; of two rates of one settlement the first stands."""
    rates: dict[int, Decimal] = {}
    for stamp in sorted(stamped):
        rates.setdefault(settlement_ms(stamp), stamped[stamp])
    return list(rates.items())


def _unknown(symbol: str, category: Category) -> ConfigError:
    return ConfigError(
        f"run.symbols: Bybit does not trade {symbol!r} in category {category!r}; "
        f"symbols look like BTCUSDT, categories are linear and spot"
    )


def _time(answer: dict[str, Any]) -> int:
    """When the answer was made."""
    try:
        return plausible.time_ms(answer.get("time"))
    except MalformedFrame as error:
        raise FeedError(f"an answer without the exchange's time: {error}") from error
