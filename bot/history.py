"""Warm-up: the history that the model wants, from the exchange into the store and from there into the core."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import structlog
from msgspec import Struct

from bot.errors import FeedError
from bot.exchange.rest import PAGE_BARS, BybitRest, RequestRefused
from bot.market import INTERVAL_MS, Bar
from bot.model.features import RECEPTIVE_BARS, WINDOW_BARS
from bot.store import bars as store
from bot.store.database import Database
from bot.store.steps import StepWriter

T = TypeVar("T")

_log = structlog.get_logger()

_PAUSE_SECONDS = (1.0, 30.0)
_AT_ONCE = 8
_BLOCK_BARS = 512
"""Bars that are observed before anything else has its turn."""
_PATIENT_LOOKS = 3
"""Looks at an answer that is empty or has holes before it is taken for what the exchange has."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What to load: the newest ``bars`` closed bars of each symbol.

    ``memory_size``, ``horizon_bars`` and ``calibration_bars`` are the model's, which say how far back it
    remembers, and how far back what it said then is held against what happened.
    """

    symbols: tuple[str, ...]
    interval: str
    bars: int
    memory_size: int
    horizon_bars: int
    calibration_bars: int = 0


class Page(Struct, frozen=True):
    """Bars, ascending, and for how many starts they are all that the exchange has."""

    bars: list[Bar]
    covered: int


async def persist(request: Callable[[], Awaitable[T]], what: str) -> T:
    """Ask until the exchange answers: the weather passes. Pauses grow to half a minute.

    RequestRefused goes through, since no waiting helps.
    """
    pause, longest = _PAUSE_SECONDS
    while True:
        try:
            return await request()
        except RequestRefused:
            raise
        except FeedError as error:
            _log.warning("waiting_for_exchange", what=what, error=str(error), retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(longest, 2 * pause)


async def download(
    rest: BybitRest, database: Database, steps: StepWriter, wanted: Wanted, progress: Progress
) -> dict[str, int | None]:
    """Complete the stored history; returns each symbol's newest bar that needs no decision, None without any.

    Bars after the last one of a symbol that has been decided on are left to the stream, which hands
    them on as missed, even where an import has stored them. Before that, what is stored stays, and what
    is missing is fetched.
    """
    # Several at a time: an exchange that has fewer bars is looked at patiently, which takes a while.
    turns = asyncio.Semaphore(_AT_ONCE)

    async def complete(symbol: str) -> int | None:
        async with turns:
            return await _complete(rest, database, steps, wanted, symbol, progress)

    starts = await asyncio.gather(*(complete(symbol) for symbol in wanted.symbols))
    return dict(zip(wanted.symbols, starts, strict=True))


async def _complete(
    rest: BybitRest, database: Database, steps: StepWriter, wanted: Wanted, symbol: str, progress: Progress
) -> int | None:
    step = INTERVAL_MS[wanted.interval]
    decided = await store.last_decided(database, symbol, wanted.interval)
    newest = decided if decided is not None else await newest_start(rest, symbol, wanted.interval)
    # No earlier than 1970, on the interval's grid.
    oldest = max(newest % step, newest - (wanted.bars - 1) * step)
    # Also inside what is stored: a warm-up that was cut off leaves holes behind.
    ranges = await store.missing_ranges(database, symbol, wanted.interval, oldest, newest)
    if ranges and ranges[0][0] == oldest:
        begin = await _listed_since(rest, symbol, wanted.interval, oldest)
        ranges = [(max(first, begin), last) for first, last in ranges if last >= begin]
    total = sum((last - first) // step + 1 for first, last in ranges)
    done = 0
    for first, last in ranges:
        async for page in pages(rest, symbol, wanted.interval, first, last):
            await steps.insert_history(page.bars)
            done += page.covered
            progress(f"history {symbol}", done, total)
    if decided is not None:
        return decided
    return await store.last_start(database, symbol, wanted.interval)


async def observe(
    observe_bars: Callable[[list[Bar], int], None],
    database: Database,
    wanted: Wanted,
    progress: Progress,
) -> int:
    """Hand the stored bars to ``observe_bars``, oldest first, but none that is still to be decided on.

    At least those that the memory's moments and the windows come from, so that a restart knows what an
    uninterrupted run would. They come in blocks, and with each the time as of which the model will be
    asked at the earliest. Returns how many there were.
    """
    decided = {
        symbol: await store.last_decided(database, symbol, wanted.interval) for symbol in wanted.symbols
    }
    stored = [await store.count(database, symbol, wanted.interval) for symbol in wanted.symbols]
    moments = _share(stored, wanted.memory_size) + wanted.horizon_bars
    if wanted.calibration_bars:
        # The oldest vote that counts was cast by a memory that was whole at that time.
        since = wanted.calibration_bars + wanted.horizon_bars
        before = [max(0, each - since) for each in stored]
        moments = max(moments, _share(before, wanted.memory_size) + wanted.horizon_bars + since)
    limit = max(wanted.bars, moments, WINDOW_BARS) + RECEPTIVE_BARS
    total = sum(min(limit, each) for each in stored)
    # What is decided first is a bar after one of these.
    newest = [
        last if last is not None else await store.last_start(database, symbol, wanted.interval)
        for symbol, last in decided.items()
    ]
    asked_from_ms = min((start for start in newest if start is not None), default=0)
    observed = 0
    block: list[Bar] = []

    async def hand_on() -> None:
        observe_bars(block, asked_from_ms)
        block.clear()
        progress("memory", observed, total)
        await asyncio.sleep(0)

    async for bar in store.load_bars(database, wanted.symbols, wanted.interval, limit=limit):
        last = decided[bar.symbol]
        if last is not None and bar.start_ms > last:
            continue
        block.append(bar)
        observed += 1
        if len(block) == _BLOCK_BARS:
            await hand_on()
    await hand_on()
    progress("memory", total, total)
    return observed


def _share(stored: list[int], room: int) -> int:
    """How many of its newest bars each symbol has in so much room: who has fewer leaves it to the others."""
    for place, bars in enumerate(sorted(stored)):
        left = len(stored) - place
        if bars * left >= room:
            return -(-room // left)
        room -= bars
    return max(stored, default=0)


async def _listed_since(rest: BybitRest, symbol: str, interval: str, oldest: int) -> int:
    """Where the symbol's bars begin at or after ``oldest``: what nobody has need not be asked for."""
    begin = await persist(lambda: rest.first_start(symbol, interval, oldest), f"history of {symbol}")
    return oldest if begin is None else begin


async def newest_start(rest: BybitRest, symbol: str, interval: str) -> int:
    """Start of the newest closed bar, asked for until one is shown."""

    async def ask() -> int:
        newest = await rest.newest_closed(symbol, interval)
        if newest is None:
            raise FeedError(f"no bars of {symbol} are shown")
        return newest

    return await persist(ask, f"history of {symbol}")


async def pages(
    rest: BybitRest, symbol: str, interval: str, first_ms: int, last_ms: int
) -> AsyncIterator[Page]:
    """The exchange's bars with starts in [first_ms, last_ms], ascending, until all is covered."""
    step = INTERVAL_MS[interval]
    begin = first_ms
    while begin <= last_ms:
        end = min(last_ms, begin + (PAGE_BARS - 2) * step)
        bars = await _page(rest, symbol, interval, begin, end)
        if not bars and end < last_ms:
            # Before the symbol was listed, say: years may be empty, so go on where bars begin.
            following = await persist(
                lambda after=end + step: rest.first_start(symbol, interval, after),  # type: ignore[misc]
                f"history of {symbol}",
            )
            if following is not None:
                end = max(end, min(last_ms, following - step))
        yield Page(bars=bars, covered=(end - begin) // step + 1)
        begin = end + step


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
