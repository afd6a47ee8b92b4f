"""Bars from CSV files into the history store."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from msgspec import Struct

from bot.config import Config
from bot.market import Bar
from bot.sessions.warm_up import Progress
from bot.sources.csv_bars import BarFile, check_bars, require_agreement
from bot.store.database import Database
from bot.store.history.market import Market, insert_bars

_FILES = "file"
"""The venue of a file whose name does not say one."""

_BATCH_BARS = 5_000


class Imported(Struct, frozen=True, kw_only=True):
    """What became of one file: new bars, those already stored, and those that differ from stored ones."""

    file: str
    venue: str
    symbol: str
    interval: str
    bars: int
    first_start_ms: int
    last_start_ms: int
    added: int
    known: int
    differing: int


async def import_bars(
    paths: Sequence[str],
    config: Config,
    history: AbstractAsyncContextManager[Database],
    *,
    symbol: str | None = None,
    interval: str | None = None,
    venue: str | None = None,
    progress: Progress,
) -> list[Imported]:
    """Store the bars of all files in ``history`` or, where any row of any file is wrong, of none.

    ``symbol`` and ``interval`` are those of files whose names do not say them. InputError names file and line.
    """
    # All files are read before anything is written, so that a typing error leaves nothing behind.
    files = []
    for done, path in enumerate(paths, start=1):
        files.append(check_bars(path, symbol, interval, config.max_data_bytes))
        progress("check files", done, len(paths))
    markets = [Market(venue or venue_of(file.path), config.run.category) for file in files]
    for each in {market.venue for market in markets}:
        require_agreement([file for file, market in zip(files, markets, strict=True) if market.venue == each])
    async with history as database, database.transaction():
        return [
            await _store(database, market, file, progress)
            for market, file in zip(markets, files, strict=True)
        ]


def venue_of(path: Path) -> str:
    """The venue that a file's name says (``SYMBOL_venue_interval_…``)."""
    parts = path.name.split(".")[0].split("_")
    return parts[1].lower() if len(parts) > 2 else _FILES


async def _store(history: Database, market: Market, file: BarFile, progress: Progress) -> Imported:
    added = known = differing = 0
    first: Bar | None = None
    batch: list[Bar] = []
    for number, bar in enumerate(file, start=1):
        first = first or bar
        batch.append(bar)
        if len(batch) == _BATCH_BARS or number == file.count:
            inserted = await insert_bars(history, market, batch)
            added, known = added + inserted.added, known + inserted.known
            differing += inserted.differing
            last = batch[-1]
            batch.clear()
            progress(f"import {file.symbol}", number, file.count)
    assert first is not None  # an empty file is refused
    return Imported(
        file=str(file.path),
        venue=market.venue,
        symbol=file.symbol,
        interval=file.interval,
        bars=file.count,
        first_start_ms=first.start_ms,
        last_start_ms=last.start_ms,
        added=added,
        known=known,
        differing=differing,
    )
