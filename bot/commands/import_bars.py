"""``import``: bars from CSV files into the history store."""

from pathlib import Path

import msgspec
from msgspec import Struct

from bot.commands.history_store import history_path, opened
from bot.commands.import_ import Options
from bot.config import Config
from bot.errors import InputError
from bot.market import Bar, minute_text
from bot.sources.csv_bars import BarFile, check_bars, require_agreement
from bot.store.database import Database
from bot.store.history.market import Market, insert_bars
from bot.terminal.progress import Progress

OK = 0

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


async def run(options: Options, config: Config) -> int:
    """Store the bars of all files or, where any row of any file is wrong, of none."""
    if options.mode is not None:
        raise InputError(
            f"import --{options.mode}: bars go to the history store, which belongs to no account; leave the mode out"
        )
    if options.symbol is not None and len(options.files) > 1:
        raise InputError(
            "--symbol names a single file's bars; let the names of several tell, or import them singly"
        )
    # All files are read before anything is written, so that a typing error leaves nothing behind.
    with Progress() as progress:
        files = []
        for done, path in enumerate(options.files, start=1):
            files.append(check_bars(path, options.symbol, options.interval, config.max_data_bytes))
            progress("check files", done, len(options.files))
    markets = [Market(options.venue or venue_of(file.path), config.run.category) for file in files]
    for venue in {market.venue for market in markets}:
        require_agreement(
            [file for file, market in zip(files, markets, strict=True) if market.venue == venue]
        )
    async with opened(history_path(options, config), config, create=True) as history, history.transaction():
        with Progress() as progress:
            imported = [
                await _store(history, market, file, progress)
                for market, file in zip(markets, files, strict=True)
            ]
    if options.json:
        print(msgspec.json.encode(imported).decode())
    else:
        for each in imported:
            print(_line(each))
    return OK


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


def _line(each: Imported) -> str:
    text = (
        f"{each.file}: {each.added} new bars of {each.symbol} {each.interval} ({each.venue}, "
        f"{minute_text(each.first_start_ms)} to {minute_text(each.last_start_ms)} UTC)"
    )
    if each.known:
        text += f", {each.known} were there already"
    if each.differing:
        text += f"; {each.differing} of those differ and were left as they were"
    return text
