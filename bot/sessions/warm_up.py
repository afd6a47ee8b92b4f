"""Warm-up: the history that the model wants, from the exchange into the store and from there into the core."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar

import structlog
from msgspec import Struct

from bot import program
from bot.errors import FeedError
from bot.exchange.rest import PAGE_BARS, BybitRest, RequestRefused
from bot.market import INTERVAL_MS, Bar
from bot.model.features import STATE_BARS, WINDOW_BARS
from bot.store import bars as store
from bot.store.account.steps import StepWriter
from bot.store.database import Database

T = TypeVar("T")
Alive = Callable[[], Awaitable[object]] | None

_log = structlog.get_logger()

_PAUSE_SECONDS = (1.0, 30.0)
_AT_ONCE = 8
_BLOCK_BARS = 512
"""Bars that are observed before anything else has its turn."""
_LEAD_BARS = STATE_BARS + 1
"""Unbroken bars that what is known of a moment depends on, at most."""
_PATIENT_FAILURES = 3
"""Requests about one symbol that fail in a row before it is asked whether the exchange answers any."""
_PATIENT_LOOKS = 3
"""Looks at an answer that is empty or has holes before it is taken for what the exchange has."""

_Run = tuple[int, int]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What to load: the newest ``bars`` closed bars of each symbol.

    ``memory_size``, ``horizon_bars`` and ``calibration_bars`` are the model's, which say how far back it
    remembers, and how far back what it said then is held against what happened. What closed while nobody
    watched a ``joining`` symbol is history, and not decided on later. A symbol that is ``held`` is watched even
    where its history cannot be had.
    """

    symbols: tuple[str, ...]
    interval: str
    bars: int
    memory_size: int
    horizon_bars: int
    calibration_bars: int = 0
    joining: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


class Page(Struct, frozen=True):
    """Bars, ascending, and for how many starts they are all that the exchange has."""

    bars: list[Bar]
    covered: int


async def persist(request: Callable[[], Awaitable[T]], what: str, alive: Alive = None) -> T:
    """Ask until the exchange answers: the weather passes. Pauses grow to half a minute.

    RequestRefused goes through, since no waiting helps. So does what fails time after time while the exchange
    answers ``alive``, where that is given.
    """
    pause, longest = _PAUSE_SECONDS
    for failures in count(1):
        try:
            return await request()
        except RequestRefused:
            raise
        except FeedError as error:
            if alive is not None and failures >= _PATIENT_FAILURES and await _answers(alive):
                raise
            _log.warning(
                "waiting_for_exchange",
                what=what,
                error=str(error),
                attempt=failures,
                retry_seconds=pause,
                note=f"asks again until it is answered; Ctrl-C stops, `{program.name()} doctor` looks for the cause",
            )
        await asyncio.sleep(pause)
        pause = min(longest, 2 * pause)
    raise AssertionError("it is counted without end")


async def _answers(alive: Callable[[], Awaitable[object]]) -> bool:
    try:
        await alive()
    except FeedError:
        return False
    return True


async def download(
    rest: BybitRest, database: Database, steps: StepWriter, wanted: Wanted, progress: Progress
) -> dict[str, int | None]:
    """Complete the stored history; returns each symbol's newest bar that needs no decision, None without any.

    Bars after the last one of a symbol that has been decided on are left to the stream, which hands
    them on as missed, even where an import has stored them. Before that, what is stored stays, and what
    is missing is fetched. A symbol whose history cannot be had, or that has no bar yet, holds up nobody: the
    stream goes on with it from what is stored. Raises RequestRefused where none can be had of any.
    """
    # Several at a time: an exchange that has fewer bars is looked at patiently, which takes a while.
    turns = asyncio.Semaphore(_AT_ONCE)

    async def complete(symbol: str) -> int | None:
        async with turns:
            try:
                return await _complete(rest, database, steps, wanted, symbol, progress)
            except FeedError as error:
                _log.warning("history_unavailable", symbol=symbol, error=str(error))
                if isinstance(error, RequestRefused) and symbol not in wanted.held:
                    refused.append(error)
                return await _stored_end(database, wanted, symbol)

    refused: list[RequestRefused] = []
    starts = await asyncio.gather(*(complete(symbol) for symbol in wanted.symbols))
    if refused and len(refused) == len(wanted.symbols):
        raise refused[0]
    return dict(zip(wanted.symbols, starts, strict=True))


async def _complete(
    rest: BybitRest, database: Database, steps: StepWriter, wanted: Wanted, symbol: str, progress: Progress
) -> int | None:
    step = INTERVAL_MS[wanted.interval]
    alive = rest.time_ms if len(wanted.symbols) > 1 else None
    newest = await _last_decided(database, wanted, symbol)
    if newest is None:
        newest = await newest_start(rest, symbol, wanted.interval, alive)
    # No earlier than 1970, on the interval's grid.
    oldest = max(newest % step, newest - (wanted.bars - 1) * step)
    # Also inside what is stored: a warm-up that was cut off leaves holes behind.
    ranges = await store.missing_ranges(database, symbol, wanted.interval, oldest, newest)
    if ranges and ranges[0][0] == oldest:
        begin = await _listed_since(rest, symbol, wanted.interval, oldest, alive)
        ranges = [(max(first, begin), last) for first, last in ranges if last >= begin]
    total = sum((last - first) // step + 1 for first, last in ranges)
    done = 0
    for first, last in ranges:
        async for page in pages(rest, symbol, wanted.interval, first, last, alive):
            await steps.insert_history(page.bars)
            done += page.covered
            progress(f"history {symbol}", done, total)
    return await _stored_end(database, wanted, symbol)


async def _last_decided(database: Database, wanted: Wanted, symbol: str) -> int | None:
    """The symbol's newest bar that was decided on, None for one that joins: it begins anew."""
    if symbol in wanted.joining:
        return None
    return await store.last_decided(database, symbol, wanted.interval)


async def _stored_end(database: Database, wanted: Wanted, symbol: str) -> int | None:
    """The newest stored bar that needs no decision."""
    decided = await _last_decided(database, wanted, symbol)
    return decided if decided is not None else await store.last_start(database, symbol, wanted.interval)


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
    step, since_ms = INTERVAL_MS[wanted.interval], []
    runs: list[_Run] = []
    newest: dict[str, int] = {}
    for symbol in wanted.symbols:
        last = await _stored_end(database, wanted, symbol)
        first = await store.first_start(database, symbol, wanted.interval)
        if first is None or last is None:
            continue
        newest[symbol] = last
        runs += await _runs(database, symbol, wanted.interval, first, last)
        since_ms.append(last - (max(wanted.bars, WINDOW_BARS) + _LEAD_BARS) * step)
    # What is decided first is a bar after one of these.
    first_query_ms = min(newest.values(), default=0)
    since_ms.append(_whole_since(runs, wanted, first_query_ms))
    total = sum(_bars(run, min(since_ms), step) for run in runs)
    observed = 0
    block: list[Bar] = []

    async def hand_on() -> None:
        observe_bars(block, first_query_ms)
        block.clear()
        progress("memory", observed, total)
        await asyncio.sleep(0)

    async for bar in store.load_bars(database, wanted.symbols, wanted.interval, since_ms=min(since_ms)):
        if bar.start_ms > newest[bar.symbol]:
            continue
        block.append(bar)
        observed += 1
        if len(block) == _BLOCK_BARS:
            await hand_on()
    await hand_on()
    progress("memory", total, total)
    return observed


async def _runs(database: Database, symbol: str, interval: str, first: int, last: int) -> list[_Run]:
    """The stored bars as unbroken stretches between these starts."""
    holes = await store.missing_ranges(database, symbol, interval, first, last)
    step = INTERVAL_MS[interval]
    begins = [first, *(after + step for _, after in holes)]
    ends = [*(before - step for before, _ in holes), last]
    return [run for run in zip(begins, ends, strict=True) if run[0] <= run[1]]


def _whole_since(runs: Sequence[_Run], wanted: Wanted, first_query_ms: int) -> int:
    """From when on bars must be observed, so that a memory is whole once anything is asked of it that counts.

    By the calendar, the same for all symbols: the memory keeps what came last, of whichever symbol, and
    one that has few bars, or holes among them, leaves its room to the others. The first of the runs
    where there are fewer moments than the memory has room for.
    """
    step = INTERVAL_MS[wanted.interval]
    # What is known when the first bar is decided, or when the oldest vote that counts was cast.
    last_ms = first_query_ms
    if wanted.calibration_bars:
        last_ms -= (wanted.calibration_bars + wanted.horizon_bars + 2) * step
    lost = _LEAD_BARS - 1 + wanted.horizon_bars

    def moments(bars: int) -> int:
        """How many moments these last bars give: each stretch loses its first and its last ones."""
        within = ((first, min(last, last_ms)) for first, last in runs)
        return sum(max(0, _bars(run, last_ms - bars * step, step) - lost) for run in within)

    first_ms = min((first for first, _ in runs), default=last_ms)
    most = max(0, (last_ms - first_ms) // step + 1)
    return last_ms - bisect_left(range(most), wanted.memory_size, key=moments) * step


def _bars(run: _Run, since_ms: int, step: int) -> int:
    """How many bars of the run start at that time or later."""
    first, last = run
    return max(0, (last - max(first, since_ms)) // step + 1)


async def _listed_since(rest: BybitRest, symbol: str, interval: str, oldest: int, alive: Alive) -> int:
    """Where the symbol's bars begin at or after ``oldest``: what nobody has need not be asked for."""
    begin = await persist(lambda: rest.first_start(symbol, interval, oldest), f"history of {symbol}", alive)
    return oldest if begin is None else begin


async def newest_start(rest: BybitRest, symbol: str, interval: str, alive: Alive = None) -> int:
    """Start of the newest closed bar, asked for until one is shown; ``alive`` is as for :func:`persist`."""

    async def ask() -> int:
        newest = await rest.newest_closed(symbol, interval)
        if newest is None:
            raise FeedError(f"no bars of {symbol} are shown")
        return newest

    return await persist(ask, f"history of {symbol}", alive)


async def pages(
    rest: BybitRest, symbol: str, interval: str, first_ms: int, last_ms: int, alive: Alive = None
) -> AsyncIterator[Page]:
    """The exchange's bars with starts in [first_ms, last_ms], ascending, until all is covered."""
    step = INTERVAL_MS[interval]
    begin = first_ms
    while begin <= last_ms:
        end = min(last_ms, begin + (PAGE_BARS - 2) * step)
        bars = await _page(rest, symbol, interval, begin, end, alive)
        if not bars and end < last_ms:
            # Before the symbol was listed, say: years may be empty, so go on where bars begin.
            following = await persist(
                lambda after=end + step: rest.first_start(symbol, interval, after),  # type: ignore[misc]
                f"history of {symbol}",
                alive,
            )
            if following is not None:
                end = max(end, min(last_ms, following - step))
        yield Page(bars=bars, covered=(end - begin) // step + 1)
        begin = end + step


async def _page(rest: BybitRest, symbol: str, interval: str, begin: int, end: int, alive: Alive) -> list[Bar]:
    """One page of history, looked at again where it is empty or has holes, for either may be weather."""
    found: dict[int, Bar] = {}
    expected = (end - begin) // INTERVAL_MS[interval] + 1
    for look in range(_PATIENT_LOOKS):
        if look:
            await asyncio.sleep(0.2 * look)
        bars, refused, _ = await persist(
            lambda: rest.bars(symbol, interval, begin, end, "history"), f"history of {symbol}", alive
        )
        found |= {bar.start_ms: bar for bar in bars if bar.start_ms <= end}
        if refused:
            _log.warning("bars_refused", symbol=symbol, bars=len(refused), first=refused[0])
        if len(found) == expected:
            break
    return [found[start] for start in sorted(found)]
