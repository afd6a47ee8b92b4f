"""Bars into the store: ``import`` from CSV files."""

import argparse
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from bot.config import Config
from bot.errors import InputError
from bot.market import Bar, utc_text
from bot.sources.csv_bars import read_bars
from bot.store.bars import bar_row, insert_bar_rows
from bot.store.database import Database, Identity, Mode

OK = 0


class Imported(Struct, frozen=True, kw_only=True):
    """What became of one file: new bars, those already stored, and those that differ from stored ones."""

    file: str
    symbol: str
    interval: str
    bars: int
    first_start_ms: int
    last_start_ms: int
    added: int
    known: int
    differing: int


async def run(args: argparse.Namespace, config: Config) -> int:
    """``import``: into the named database or the mode's, without either the backtest's."""
    mode: Mode = args.mode or "backtest"
    identity = Identity(
        mode=mode, category=config.run.category, starting_cash=Decimal(config.broker.starting_cash)
    )
    return await import_files(
        args.files, config.database_path(mode), args.symbol, args.interval, identity=identity, json=args.json
    )


async def import_files(
    paths: Sequence[Path | str],
    db_path: Path | str,
    symbol: str | None = None,
    interval: str | None = None,
    *,
    identity: Identity,
    json: bool = False,
) -> int:
    """Store the bars of all files or, where any row of any file is wrong, of none.

    A database that exists keeps its own identity; a new one is made with ``identity``.
    """
    if symbol is not None and len(paths) > 1:
        raise InputError(
            "--symbol names a single file's bars; let the names of several tell, or import them singly"
        )
    # The first file is read before a database is made, so that a typing error leaves nothing behind.
    first = read_bars(paths[0], symbol, interval)
    async with (
        Database.open(db_path, _for_new(db_path, identity)) as database,
        database.transaction(),
    ):
        done = [await _store(database, paths[0], first)]
        del first
        for path in paths[1:]:
            done.append(await _store(database, path, read_bars(path, symbol, interval)))
    if json:
        print(msgspec.json.encode(done).decode())
    else:
        for one in done:
            print(_line(one))
    return OK


def _for_new(db_path: Path | str, identity: Identity) -> Identity | None:
    return None if Path(db_path).exists() else identity


async def _store(database: Database, path: Path | str, bars: Sequence[Bar]) -> Imported:
    inserted = await insert_bar_rows(database, [bar_row(bar) for bar in bars])
    return Imported(
        file=str(path),
        symbol=bars[0].symbol,
        interval=bars[0].interval,
        bars=len(bars),
        first_start_ms=bars[0].start_ms,
        last_start_ms=bars[-1].start_ms,
        added=inserted.added,
        known=inserted.known,
        differing=inserted.differing,
    )


def _line(one: Imported) -> str:
    text = (
        f"{one.file}: {one.added} new bars of {one.symbol} {one.interval} "
        f"({utc_text(one.first_start_ms)[:-3]} to {utc_text(one.last_start_ms)[:-3]} UTC)"
    )
    if one.known:
        text += f", {one.known} were there already"
    if one.differing:
        text += f"; {one.differing} of those differ and were left as they were"
    return text
