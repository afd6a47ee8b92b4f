"""History, instruments, funding and mark prices over REST, through ccxt's asyncio client."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, cast

import ccxt.async_support as ccxt
import structlog
from msgspec.structs import replace
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from bot.errors import ConfigError, FeedError
from bot.exchange import wire
from bot.exchange.client import Answer, BybitClient
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

_log = structlog.get_logger()

PAGE_BARS = 1000
"""Bybit's largest page of klines."""
_PAGE_FUNDING = 200
_FUNDING_WINDOW_MS = 7 * 86_400_000
_STAMP_MS = 30_000
_ATTEMPTS = 4
_BAN_SECONDS = 600.0
"""Bybit asks an address that it refused with HTTP 403 to send nothing for ten minutes."""
_MILLISECONDS_A_REQUEST = 10
"""Pace of requests: 500 in 5 s, under Bybit's 600 an address."""


class RequestRefused(FeedError):
    """The exchange understood the request and will not answer it; asking again changes nothing."""


class NoSuchRoute(RequestRefused):
    """The server has no such endpoint: another protocol, or only a part of this one."""


class Banned(FeedError):
    """The exchange refused this address; nothing is sent until the ten minutes are over."""


_STATUSES = ("", "PreLaunch", "Delivering", "Closed")
"""Without a status named, the exchange tells of symbols that are traded."""

_PATIENT_LOOKS = 3

_REFUSALS = {"10001", "10029", "10009", "10024"}


class BybitRest:
    """Bybit's public REST endpoints for one category. Everything it raises is a FeedError.

    Answers that may pass (timeouts, gateways, limits, broken JSON) are tried again a few times with
    growing, jittered pauses; who calls it decides whether to go on after that. ``base_url`` is the
    host part. ``on_ban`` is told once when the exchange bans the address.
    """

    def __init__(
        self, base_url: str, category: Category, on_ban: Callable[[str], None] | None = None
    ) -> None:
        self.category = category
        self._on_ban = on_ban
        self._banned_until = 0.0
        self._client = BybitClient(
            {"enableRateLimit": True, "rateLimit": _MILLISECONDS_A_REQUEST / 5, "timeout": 10_000}
        )
        for part in ("spot", "futures", "v2", "public", "private"):
            self._client.urls["api"][part] = base_url.rstrip("/")
        self.host = base_url

    async def __aenter__(self) -> "BybitRest":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def time_ms(self) -> int:
        """The exchange's clock."""
        return _time(await self._get("Time", {}))

    async def instruments(self, symbols: tuple[str, ...]) -> dict[str, Instrument]:
        """The rules of each symbol, on linear with its risk tiers.

        Raises ConfigError for one that the exchange does not trade.
        """
        found: dict[str, Instrument] = {}
        for symbol in symbols:
            try:
                answer = await self._get("InstrumentsInfo", {"category": self.category, "symbol": symbol})
            except NoSuchRoute:
                raise
            except RequestRefused as error:
                raise _unknown(symbol, self.category) from error
            rows = [row for row in _list(answer) if isinstance(row, dict) and row.get("symbol") == symbol]
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
            answer = await self._get("InstrumentsInfo", asked)
        except NoSuchRoute:
            raise
        except RequestRefused:
            return None
        rows = [row for row in _list(answer) if isinstance(row, dict) and row.get("symbol") == symbol]
        return self._rules(rows[0], answer) if rows else None

    def _rules(self, row: dict[str, Any], answer: dict[str, Any]) -> Instrument:
        try:
            return wire.instrument(row, self.category, _time(answer))
        except wire.MalformedFrame as error:
            raise FeedError(str(error)) from error
        except wire.InverseContract as error:
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
            answer = await self._get("DeliveryPrice", {"category": self.category, "symbol": symbol})
            rows = [row for row in _list(answer) if row["symbol"] == symbol]
            newest = max(rows, key=lambda row: int(row["deliveryTime"]), default=None)
            return wire.price(newest["deliveryPrice"]) if newest is not None else None
        except (RequestRefused, wire.MalformedFrame):
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise FeedError(f"delivery price of {symbol}: {error!r}") from error

    async def _risk_tiers(self, symbol: str) -> tuple[RiskTier, ...]:
        if self.category == "spot":
            return ()
        try:
            answer = await self._get("RiskLimit", {"category": self.category, "symbol": symbol})
            return wire.risk_tiers(_list(answer), symbol)
        except (RequestRefused, wire.MalformedFrame) as error:
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
        step = INTERVAL_MS[interval]
        # One bar more than asked: its presence proves that the answer reaches the end of the range.
        end_ms = min(last_ms, first_ms + (PAGE_BARS - 2) * step) + step
        answer = await self._get(
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
        for row in _list(answer):
            try:
                bar = wire.bar_from_row(row, symbol, interval, source)
            except wire.MalformedFrame as error:
                refused.append(f"{error} in {row!r}")
                continue
            newest = max(newest, bar.start_ms)
            # Nothing in a row says that the bar is still open; only the clock does.
            if first_ms <= bar.start_ms < end_ms and bar.close_ms <= now_ms:
                bars[bar.start_ms] = bar
        return [bars[start] for start in sorted(bars)], refused, newest

    async def newest_closed(self, symbol: str, interval: str) -> int | None:
        """Start of the newest bar that has closed; None where the answer shows none (which says nothing)."""
        answer = await self._get(
            "Kline", {"category": self.category, "symbol": symbol, "interval": interval, "limit": 2}
        )
        step = INTERVAL_MS[interval]
        try:
            newest = max((int(row[0]) for row in _list(answer)), default=None)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise FeedError(f"klines of {symbol}: {error!r}") from error
        if newest is None:
            return None
        # The first row is normally the bar that is still open. A clock that is a whole bar further on
        # disagrees with the bars, and then they count: a later one shows that an earlier has closed.
        closed = newest + step <= _time(answer) < newest + 2 * step
        return newest if closed else newest - step

    async def first_start(self, symbol: str, interval: str, from_ms: int) -> int | None:
        """Start of the oldest bar at or after ``from_ms``; None where none is shown (which says nothing)."""
        answer = await self._get(
            "Kline",
            {
                "category": self.category, "symbol": symbol, "interval": interval,
                # Without an end, the oldest rows from the start on. The spare one makes up for a row that
                # holds ``from_ms`` but begins before it.
                "start": from_ms, "limit": 2,
            },
        )  # fmt: skip
        try:
            starts = [int(row[0]) for row in _list(answer)]
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise FeedError(f"klines of {symbol}: {error!r}") from error
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
        rows = _list(await self._get("FundingHistory", query))
        try:
            page = {int(row["fundingRateTimestamp"]): Decimal(row["fundingRate"]) for row in rows}
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise FeedError(f"funding of {symbol}: {error!r}") from error
        if not all(rate.is_finite() and rate.copy_abs() < 1 for rate in page.values()):
            raise FeedError(f"funding of {symbol}: a rate is no fraction between -1 and 1")
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
            rows = {int(row[0]): Decimal(row[place]) for row in _list(await self._get(endpoint, query))}
        except RequestRefused:
            return None
        except (TypeError, ValueError, IndexError, KeyError, ArithmeticError) as error:
            raise FeedError(f"{endpoint} of {symbol}: {error!r}") from error
        shown = [at for at in rows if span.get("start", at) <= at <= last_ms]
        price = rows[max(shown)] if shown else None
        return price if price is not None and price.is_finite() and price > 0 else None

    async def _get(self, endpoint: str, parameters: dict[str, Any]) -> dict[str, Any]:
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.2, max=3.0, jitter=0.2),
            reraise=True,
        )
        return cast(dict[str, Any], await retrying(self._get_once, endpoint, parameters))

    async def _get_once(self, endpoint: str, parameters: dict[str, Any]) -> dict[str, Any]:
        left = self._banned_until - time.monotonic()
        if left > 0:
            raise Banned(f"{self.host} refused this address; no requests for another {left:.0f} s")
        try:
            answer = await getattr(self._client, f"publicGetV5Market{endpoint}")(parameters)
        except Answer as error:
            raise await self._meaning(error) from error
        except (ccxt.BaseError, OSError, ValueError) as error:
            raise FeedError(f"{self.host}: {type(error).__name__} {error}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
            raise FeedError(f"{self.host}: an answer without a result")
        return answer

    async def _meaning(self, answer: Answer) -> FeedError:
        if answer.status == 403 or answer.code == "10018":
            self._banned_until = time.monotonic() + _BAN_SECONDS
            text = f"{self.host} refused this address (too many requests, or its country): {answer}"
            if self._on_ban is not None:
                self._on_ban(f"{text}; no requests for ten minutes")
            return Banned(text)
        if answer.code == "10017" or answer.status == 404:
            return NoSuchRoute(f"{self.host} has no such endpoint: {answer}")
        if answer.code in _REFUSALS:
            return RequestRefused(f"{self.host}: {answer}")
        if answer.code == "10006":
            await asyncio.sleep(_until_reset(answer.headers))
        return FeedError(f"{self.host}: {answer}")


def _by_settlement(stamped: dict[int, Decimal]) -> list[tuple[int, Decimal]]:
    """Rates by their scheduled times, ascending; of two rates of one settlement the first stands."""
    rates: dict[int, Decimal] = {}
    for stamp in sorted(stamped):
        rates.setdefault(settlement_ms(stamp), stamped[stamp])
    return list(rates.items())


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, FeedError) and not isinstance(error, RequestRefused | Banned)


def _unknown(symbol: str, category: Category) -> ConfigError:
    return ConfigError(
        f"run.symbols: Bybit does not trade {symbol!r} in category {category!r}; "
        f"symbols look like BTCUSDT, categories are linear and spot"
    )


def _until_reset(headers: dict[str, str]) -> float:
    """Seconds until the rate limit is reset, as far as the answer says; a pause of at most 5 s."""
    try:
        ahead = int(headers["x-bapi-limit-reset-timestamp"]) / 1000 - time.time()
    except (KeyError, ValueError):
        return 1.0
    return min(max(ahead, 0.1), 5.0)


def _list(answer: dict[str, Any]) -> list[Any]:
    rows = answer["result"].get("list")
    return rows if isinstance(rows, list) else []


def _time(answer: dict[str, Any]) -> int:
    try:
        return int(answer["time"])
    except (KeyError, TypeError, ValueError) as error:
        raise FeedError("an answer without the exchange's time") from error
