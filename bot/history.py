"""Warm-up: the history that the model wants, from the exchange into the store and from there into the core."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from msgspec import Struct

from bot.errors import FeedError
from bot.exchange.rest import PAGE_BARS, BybitRest
from bot.market import INTERVAL_MS, Bar
from bot.model.features import RECEPTIVE_BARS
from bot.store import bars as store
from bot.store.database import Database
from bot.store.steps import StepWriter
from bot.trader import Trader

T = TypeVar("T")

_log = structlog.get_logger()

_PAUSE_SECONDS = (1.0, 30.0)
_PATIENT_LOOKS = 3
"""Looks at an answer that is empty or has holes before it is taken for what the exchange has."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What to load: the newest ``bars`` closed bars of each symbol."""

    symbols: tuple[str, ...]
    interval: str
    bars: int


async def persist(request: Callable[[], Awaitable[T]], what: str) -> T:
    """Ask until the exchange answers: the weather passes. Pauses grow to half a minute."""
    pause, longest = _PAUSE_SECONDS
    while True:
        try:
            return await request()
        except FeedError as error:
            _log.warning("waiting_for_exchange", what=what, error=str(error), retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(longest, 2 * pause)


async def download(
    rest: BybitRest, database: Database, steps: StepWriter, wanted: Wanted, progress: Progress
) -> dict[str, int | None]:
    """Complete the stored history of every symbol; returns its newest stored bar's start, None without any.

    Bars after the last one of a symbol that has been decided on are left to the stream, which hands
    them on as missed. Before that, what is stored stays, and what is missing at either end is fetched.
    """
    step = INTERVAL_MS[wanted.interval]
    last_starts: dict[str, int | None] = {}
    for symbol in wanted.symbols:
        first = await store.first_start(database, symbol, wanted.interval)
        last = await store.last_start(database, symbol, wanted.interval)
        decided = await store.has_signals(database, symbol, wanted.interval)
        if decided and last is not None:
            newest = last
        else:
            newest = await persist(lambda symbol=symbol: _newest(rest, symbol, wanted.interval), "history")  # type: ignore[misc]
        oldest = max(0, newest - (wanted.bars - 1) * step)
        ranges = []
        if last is None or first is None or last < oldest:
            ranges.append((oldest, newest))
        else:
            ranges.append((oldest, min(first, newest + step) - step))
            if not decided:
                ranges.append((max(oldest, last + step), newest))
        total = sum(max(0, end - begin + step) // step for begin, end in ranges)
        done = 0
        for begin, end in ranges:
            while begin <= end:
                page_end = min(end, begin + (PAGE_BARS - 2) * step)
                bars = await _page(rest, symbol, wanted.interval, begin, page_end)
                await steps.insert_history(bars)
                done += (page_end - begin) // step + 1
                progress(f"history {symbol}", done, total)
                begin = page_end + step
        last_starts[symbol] = await store.last_start(database, symbol, wanted.interval)
    return last_starts


async def observe(
    trader: Trader, database: Database, wanted: Wanted, memory_size: int, progress: Progress
) -> int:
    """Hand the stored bars to the core, oldest first, without deciding on any; how many there were.

    At least what the memory holds and what a window needs, so that a restart knows what an
    uninterrupted run would.
    """
    limit = max(wanted.bars, memory_size // len(wanted.symbols)) + RECEPTIVE_BARS
    stored = [await store.count(database, symbol, wanted.interval) for symbol in wanted.symbols]
    total = sum(min(limit, each) for each in stored)
    observed = 0
    async for bar in store.load_bars(database, wanted.symbols, wanted.interval, limit=limit):
        trader.observe(bar)
        observed += 1
        if observed % 500 == 0:
            progress("memory", observed, total)
            await asyncio.sleep(0)
    progress("memory", total, total)
    return observed


async def _newest(rest: BybitRest, symbol: str, interval: str) -> int:
    newest = await rest.newest_closed(symbol, interval)
    if newest is None:
        raise FeedError(f"no bars of {symbol} are shown")
    return newest


async def _page(rest: BybitRest, symbol: str, interval: str, begin: int, end: int) -> list[Bar]:
    """One page of history, looked at again where it is empty or has holes, for either may be weather."""
    found: dict[int, Bar] = {}
    expected = (end - begin) // INTERVAL_MS[interval] + 1
    for look in range(_PATIENT_LOOKS):
        if look:
            await asyncio.sleep(0.2 * look)
        bars, refused, _ = await persist(
            lambda: rest.bars(symbol, interval, begin, end, "history"), f"history of {symbol}"
        )
        found |= {bar.start_ms: bar for bar in bars if bar.start_ms <= end}
        for problem in refused:
            _log.warning("bar_refused", symbol=symbol, problem=problem)
        if len(found) == expected:
            break
    return [found[start] for start in sorted(found)]
