"""The pretend Bybit's REST endpoints: a query in, Bybit's answer out, as of the exchange's own clock."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

from bot.demo.rules import instrument_fields, risk_tiers
from bot.demo.sources import Source
from bot.demo.symbol_state import SymbolState
from bot.market import INTERVAL_MS, TRADING, Category, grid_start_ms, plain

Endpoint = Callable[[Mapping[str, str]], dict[str, Any]]


class Refused(Exception):
    """A request that Bybit answers with retCode 10001."""


class RestApi:
    """Answers from ``source`` and ``states``; ``last_ms`` is the last bar that is ever streamed, if any is.

    ``endpoints`` holds them by their path after ``/v5/market/``. Each raises :class:`Refused` for a query
    that Bybit would not answer.
    """

    def __init__(
        self,
        source: Source,
        states: Mapping[str, SymbolState],
        category: Category,
        interval: str,
        *,
        last_ms: int | None,
        clock: Callable[[], int],
    ) -> None:
        self._source = source
        self._states = states
        self._category = category
        self._interval = interval
        self._interval_ms = INTERVAL_MS[interval]
        self._last_ms = last_ms
        self._clock = clock
        self.endpoints: dict[str, Endpoint] = {
            "time": self._time,
            "kline": self._kline,
            "mark-price-kline": lambda query: self._price_kline(query, "mark"),
            "index-price-kline": lambda query: self._price_kline(query, "index"),
            "instruments-info": self._instruments,
            "delivery-price": self._delivery_price,
            "tickers": self._tickers,
            "funding/history": self._funding,
            "risk-limit": self._risk_limit,
        }

    def _time(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"timeSecond": str(self._clock() // 1000), "timeNano": str(self._clock() * 1_000_000)}

    def _state(self, query: Mapping[str, str]) -> SymbolState:
        """The symbol that is asked for, in its category."""
        state = self._states.get(query.get("symbol", ""))
        if state is None or _category_of(query) != self._category:
            raise Refused(f"params error: symbol invalid {query.get('symbol', '')}".rstrip())
        return state

    def _states_of(self, query: Mapping[str, str]) -> list[SymbolState]:
        """The symbol that is asked for, else all of the category."""
        if "symbol" in query:
            return [self._state(query)]
        return list(self._states.values()) if _category_of(query) == self._category else []

    def _kline(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Bars newest first, the open one included; where a range holds more than ``limit``, the newest."""
        state = self._state(query)
        if query.get("interval") != self._interval:
            raise Refused("Invalid period!")
        start, end, limit = _integer(query, "start"), _integer(query, "end"), _limit(query, 200, 1000)
        symbol = state.instrument.symbol
        first_ms = 0 if start is None else grid_start_ms(start, self._interval)
        last_ms = self._clock() if end is None else min(end, self._clock())
        open_ms = grid_start_ms(self._clock(), self._interval)
        if not state.trades and state.instrument.delivery_ms:
            last_ms = min(last_ms, state.instrument.delivery_ms - self._interval_ms)
        # After the last bar that is ever streamed none is open, though a file may have more.
        if self._last_ms is not None:
            last_ms = min(last_ms, self._last_ms)
        take = self._source.oldest if start is not None and end is None else self._source.newest
        rows = []
        for bar in reversed(take(symbol, first_ms, last_ms, limit)):
            shown = state.open_bar(bar, self._clock() if bar.start_ms == open_ms else bar.close_ms)
            figures = (shown.open, shown.high, shown.low, shown.close, shown.volume, shown.turnover)
            rows.append([str(bar.start_ms), *(plain(figure) for figure in figures)])
        return {"category": self._category, "symbol": symbol, "list": rows}

    def _price_kline(self, query: Mapping[str, str], source: Literal["mark", "index"]) -> dict[str, Any]:
        """Bars of the mark price, or of the index a tick above it; newest first, at most as long as the source's."""
        state = self._state(query)
        interval_ms = INTERVAL_MS.get(query.get("interval", ""), 0)
        if self._category == "spot" or not 0 < interval_ms <= self._interval_ms:
            raise Refused("Invalid period!")
        start, end, limit = _integer(query, "start"), _integer(query, "end"), _limit(query, 200, 1000)
        last_ms = grid_start_ms(min(self._clock() if end is None else end, self._clock()), query["interval"])
        first_ms = last_ms - (limit - 1) * interval_ms
        if start is not None:
            first_ms = max(first_ms, grid_start_ms(start, query["interval"]))
            if end is None:
                first_ms = grid_start_ms(start, query["interval"])
                last_ms = min(last_ms, first_ms + (limit - 1) * interval_ms)
        symbol = state.instrument.symbol
        count = max(0, last_ms - first_ms) // self._interval_ms + 2
        bars = self._source.newest(symbol, 0, last_ms, count)
        starts = [bar.start_ms for bar in bars]
        rows = []
        for at_ms in range(last_ms, first_ms - 1, -interval_ms):
            place = bisect_right(starts, at_ms) - 1
            if place < 0:
                break
            bar = bars[place]
            until_ms = min(at_ms + interval_ms, self._clock())
            third = self._interval_ms // 3
            turns = (bar.start_ms + third, bar.start_ms + 2 * third)
            times = (at_ms, until_ms, *(turn for turn in turns if at_ms < turn < until_ms))
            if state.funding.lacks_price(source, symbol, at_ms):
                continue
            above = state.instrument.tick_size if source == "index" else Decimal(0)
            marks = [state.mark(bar, time_ms) + above for time_ms in times]
            figures = (marks[0], max(marks), min(marks), marks[1])
            rows.append([str(at_ms), *(plain(figure) for figure in figures)])
        return {"category": self._category, "symbol": symbol, "list": rows}

    def _instruments(self, query: Mapping[str, str]) -> dict[str, Any]:
        category = _category_of(query)
        limit, begin = _limit(query, 500, 1000), _integer(query, "cursor") or 0
        status = query.get("status", TRADING)
        states = [state for state in self._states_of(query) if state.instrument.status == status]
        listed = [instrument_fields(state.instrument) for state in states]
        if category == "spot":
            return {"category": category, "list": listed}
        cursor = str(begin + limit) if begin + limit < len(listed) else ""
        return {"category": category, "list": listed[begin : begin + limit], "nextPageCursor": cursor}

    def _delivery_price(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What closed contracts were delivered at."""
        states = [self._state(query)] if "symbol" in query else list(self._states.values())
        listed = [
            {
                "symbol": state.instrument.symbol,
                "deliveryPrice": plain(state.delivery_price),
                "deliveryTime": str(state.instrument.delivery_ms),
            }
            for state in states
            if state.delivery_price is not None
        ]
        return {"category": self._category, "list": listed, "nextPageCursor": ""}

    def _tickers(self, query: Mapping[str, str]) -> dict[str, Any]:
        category = _category_of(query)
        listed = []
        for state in self._states_of(query):
            fields = state.ticker(self._clock())
            if fields and category == "spot":
                price = Decimal(fields["lastPrice"])
                names = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
                fields |= dict(zip(names, map(plain, state.quote(price)), strict=True))
            listed.append(fields)
        return {"category": category, "list": [fields for fields in listed if fields]}

    def _funding(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Settled rates, newest first."""
        state = self._state(query)
        start, end = _integer(query, "startTime"), _integer(query, "endTime")
        if self._category == "spot":
            raise Refused("params error: category invalid")
        if start is not None and end is None:
            raise Refused("params error: endTime can not be empty when startTime is given")
        limit, symbol = _limit(query, 200, 200), state.instrument.symbol
        first = self._source.oldest(symbol, 0, self._clock(), 1)
        oldest_ms = max(first[0].start_ms if first else self._clock() + 1, start or 0)
        newest_ms = self._clock() if end is None else end
        settled = state.funding.settled(symbol, oldest_ms, newest_ms, self._clock())
        listed = [
            {"symbol": symbol, "fundingRate": plain(rate), "fundingRateTimestamp": str(stamp)}
            for stamp, rate in islice(settled, limit)
        ]
        return {"category": self._category, "list": listed}

    def _risk_limit(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Five tiers a symbol, 15 symbols a page."""
        category, begin = _category_of(query), _integer(query, "cursor") or 0
        if category == "spot":
            raise Refused("params error: category invalid")
        states = self._states_of(query)
        page = [tier for state in states[begin : begin + 15] for tier in risk_tiers(state.instrument.symbol)]
        cursor = str(begin + 15) if begin + 15 < len(states) else ""
        return {"category": category, "list": page, "nextPageCursor": cursor}


def _category_of(query: Mapping[str, str]) -> str:
    category = query.get("category", "linear")
    if category not in ("linear", "spot", "inverse", "option"):
        raise Refused("params error: Category is invalid")
    return category


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise Refused(f"params error: {name} invalid")
    return int(text)


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    limit = _integer(query, "limit")
    if limit == 0:
        raise Refused("params error: limit invalid")
    return min(default if limit is None else limit, most)
