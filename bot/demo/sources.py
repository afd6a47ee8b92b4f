"""Where a pretend exchange's bars come from: a generated market, or a list for each symbol."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from bot.market import INTERVAL_MS, Bar, Category, Instrument
from bot.synthetic import SyntheticMarket


class Source(Protocol):
    """Where the bars come from. Starts are on the grid; answers are ascending."""

    interval: str

    def instrument(self, symbol: str, category: Category) -> Instrument: ...

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        """Start of the last bar of all, None where there is no end."""

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]: ...

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]: ...


class GeneratedSource:
    """Bars of a generated market."""

    def __init__(self, market: SyntheticMarket) -> None:
        self._market = market
        self.interval = market.interval

    def instrument(self, symbol: str, category: Category) -> Instrument:
        return self._market.instrument(symbol, category)

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        return None

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        first, last = self._range(first_ms, last_ms)
        first = max(first, last + 1 - limit)
        return self._market.bars(symbol, first, last + 1 - first) if last >= first else []

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        first, last = self._range(first_ms, last_ms)
        return self._market.bars(symbol, first, min(limit, last + 1 - first)) if last >= first else []

    def _range(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        # What begins inside a bar begins with the next one.
        first = self._market.index_of(first_ms + INTERVAL_MS[self.interval] - 1)
        return max(0, first), self._market.index_of(last_ms)


class ListedSource:
    """Bars of a list for each symbol, with holes where bars are missing."""

    def __init__(
        self, bars: Mapping[str, list[Bar]], interval: str, rules: Mapping[str, Instrument] | None = None
    ) -> None:
        self.interval = interval
        self._rules = rules or {}
        self._bars = {
            symbol: [_as_streamed(bar) for bar in sorted(listed, key=lambda bar: bar.start_ms)]
            for symbol, listed in bars.items()
        }
        self._starts = {symbol: [bar.start_ms for bar in listed] for symbol, listed in self._bars.items()}

    def instrument(self, symbol: str, category: Category) -> Instrument:
        """The given rules, else as fine as the bars' own digits; a volume finer than 0.000001 needs no finer lot."""
        if symbol in self._rules:
            return self._rules[symbol]
        bars = self._bars[symbol]
        tick = min(_digit(price) for bar in bars for price in (bar.open, bar.high, bar.low, bar.close))
        lot = max(min(_digit(bar.volume) for bar in bars), Decimal("0.000001"))
        return Instrument(
            symbol=symbol,
            category=category,
            tick_size=tick,
            lot_size=lot,
            min_quantity=lot,
            funding_interval_minutes=480 if category == "linear" else 0,
        )

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        return max(self._starts[symbol][-1] for symbol in symbols)

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        starts = self._starts[symbol]
        begin, end = bisect_left(starts, first_ms), bisect_right(starts, last_ms)
        return self._bars[symbol][max(begin, end - limit) : end]

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        starts = self._starts[symbol]
        begin, end = bisect_left(starts, first_ms), bisect_right(starts, last_ms)
        return self._bars[symbol][begin : min(end, begin + limit)]


def source_of(
    source: SyntheticMarket | Mapping[str, list[Bar]],
    symbols: tuple[str, ...],
    interval: str,
    rules: Mapping[str, Instrument],
) -> Source:
    """The source of these symbols' bars. Raises ValueError where one has none, or the interval is another."""
    if isinstance(source, SyntheticMarket):
        if source.interval != interval:
            raise ValueError(f"the market generates bars of interval {source.interval}, not {interval}")
        return GeneratedSource(source)
    if missing := [symbol for symbol in symbols if not source.get(symbol)]:
        raise ValueError(f"no bars of {', '.join(missing)}")
    return ListedSource(source, interval, rules)


def _as_streamed(bar: Bar) -> Bar:
    """The bar as this exchange publishes it: with a turnover, which files may lack."""
    if bar.turnover is not None and bar.source == "stream" and not bar.late:
        return bar
    turnover = bar.close * bar.volume if bar.turnover is None else bar.turnover
    return msgspec.structs.replace(bar, turnover=turnover, source="stream", late=False)


def _digit(value: Decimal) -> Decimal:
    """The last digit's place of a figure, trailing zeros aside; 1 for whole numbers."""
    exponent = value.normalize().as_tuple().exponent
    return Decimal(1).scaleb(min(0, int(exponent)))
