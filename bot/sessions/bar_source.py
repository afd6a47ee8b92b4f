"""BarSource: the bars of a backtest, of files, of the history store or of an earlier run; and which are decided on."""

import heapq
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from msgspec import Struct

from bot.config import Config
from bot.errors import InputError
from bot.market import INTERVAL_MS, Bar, FundingRate, Instrument, PriceGrid, minute_text
from bot.sessions.data_files import DataFiles
from bot.store import bars as bar_table
from bot.store.account.funding_rates import load_funding_rates
from bot.store.account.state import load_instruments
from bot.store.database import Database
from bot.store.history.market import Market, load_bars, load_rates, load_rules


class BarSource(Struct, frozen=True):
    """Bars of all symbols, by close and symbol, each time that ``bars`` is called.

    ``starts`` are their starts by symbol, ascending; ``text`` says for a person where they are from.
    ``rates`` are the settled funding rates and ``rules`` the trading rules kept beside them, as far as known,
    ``grids`` what the prices of each symbol lie on.
    """

    text: str
    interval: str
    starts: Mapping[str, Sequence[int]]
    bars: Callable[[], AsyncIterator[Bar]]
    rates: tuple[FundingRate, ...] = ()
    rules: Mapping[str, Instrument] = {}
    grids: Mapping[str, PriceGrid] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.starts)


def of_files(files: DataFiles) -> BarSource:
    """The bars of files, read anew each time."""

    async def bars() -> AsyncIterator[Bar]:
        for bar in heapq.merge(*files.by_symbol.values(), key=lambda bar: (bar.start_ms, bar.symbol)):
            yield bar

    return BarSource(
        text=", ".join(str(file.path) for file in files.by_symbol.values()),
        interval=files.interval,
        starts={symbol: file.starts for symbol, file in files.by_symbol.items()},
        bars=bars,
        grids=files.grids(),
    )


async def of_history(history: Database, market: Market, config: Config) -> BarSource:
    """The stored bars of the configured symbols, of one market, with its rates and rules."""
    symbols, interval = tuple(sorted(config.run.symbols)), config.run.interval
    return BarSource(
        text=f"{history.path}, {market}",
        interval=interval,
        starts={
            symbol: await bar_table.load_starts(history, symbol, interval, market.scope) for symbol in symbols
        },
        bars=lambda: load_bars(history, market, symbols, interval),
        rates=tuple(await load_rates(history, market, symbols)),
        rules=await load_rules(history, market, symbols),
        grids={
            symbol: grid
            for symbol in symbols
            if (grid := await bar_table.stored_grid(history, symbol, interval, market.scope)) is not None
        },
    )


async def of_run(run: Database, config: Config) -> BarSource:
    """The very bars, rates and rules of an earlier run."""
    symbols, interval = tuple(sorted(config.run.symbols)), config.run.interval
    return BarSource(
        text=str(run.path),
        interval=interval,
        starts={symbol: await bar_table.load_starts(run, symbol, interval) for symbol in symbols},
        bars=lambda: bar_table.load_bars(run, symbols, interval),
        rates=tuple(await load_funding_rates(run)),
        rules=await load_instruments(run),
    )


class Span(Struct, frozen=True):
    """Starts of the first bar that is observed, of the first that is decided on, and past the last one."""

    observed_ms: int
    decided_ms: int
    end_ms: int

    def count(self, starts: Sequence[int]) -> int:
        """How many bars of these starts, ascending, are observed or decided on."""
        return bisect_left(starts, self.end_ms) - bisect_left(starts, self.observed_ms)


def spans_of(
    source: BarSource, *, since_ms: int | None, until_ms: int | None, warmup: int | None, live_warmup: int
) -> dict[str, Span]:
    """Which bars of each symbol warm up the memory and which are decided on.

    Decisions begin at ``since_ms``, and as many bars before it are observed as a live session would load
    (``live_warmup``). Without it the first bars are observed: as many, but at most half. ``warmup`` says
    otherwise how many. Raises InputError where nothing is left to decide on.
    """
    found = {}
    for symbol, starts in source.starts.items():
        end = len(starts) if until_ms is None else bisect_left(starts, until_ms)
        if since_ms is None:
            first = warmup if warmup is not None else min(live_warmup, end // 2)
            begin = 0
        else:
            first = bisect_left(starts, since_ms)
            begin = max(0, first - (live_warmup if warmup is None else warmup))
        if first >= end:
            raise InputError(_nothing(symbol, starts, since_ms, until_ms, warmup, end))
        past_ms = starts[-1] + 1 if end == len(starts) else starts[end]
        found[symbol] = Span(starts[begin], starts[first], past_ms)
    return found


def decided_closes(source: BarSource, spans: Mapping[str, Span]) -> dict[str, tuple[int, int]]:
    """Each symbol's first and last close that are decided on."""
    step = INTERVAL_MS[source.interval]
    found = {}
    for symbol, span in spans.items():
        starts = source.starts[symbol]
        found[symbol] = (span.decided_ms + step, starts[bisect_left(starts, span.end_ms) - 1] + step)
    return found


def _nothing(
    symbol: str,
    starts: Sequence[int],
    since_ms: int | None,
    until_ms: int | None,
    warmup: int | None,
    end: int,
) -> str:
    if since_ms is None and warmup is not None and end:
        return f"{symbol}: its {end} bars are no more than --warmup {warmup}; give more bars or less warm-up"
    within = [
        text
        for text in (
            "" if since_ms is None else f"from {minute_text(since_ms)}",
            "" if until_ms is None else f"before {minute_text(until_ms)}",
        )
        if text
    ]
    span = f"{minute_text(starts[0])} to {minute_text(starts[-1])}" if len(starts) else "none at all"
    return f"{symbol} has no bar {' and '.join(within)} to decide on; its bars: {span}"
