"""``export``: any table as CSV, or as JSON lines, row by row."""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec

from bot.commands.chosen_database import chosen_database
from bot.commands.export import Options
from bot.config import Config
from bot.errors import InputError, StoreError
from bot.store.account.exported import TABLES
from bot.store.believed import readable
from bot.store.database import Database

OK = 0


async def run(options: Options, config: Config) -> int:
    """``export TABLE``, to standard output or to ``--out``."""
    path = await chosen_database(options, config)
    with readable(path):
        return await export(path, options.table, options.out, json=options.json)


async def export(db_path: Path | str, table: str, out: str | None = None, *, json: bool = False) -> int:
    """Write a whole table as of one moment: exact text of decimals, an empty cell (JSON: null) for NULL."""
    if table not in TABLES:
        raise InputError(f"export: there is no table {table!r}; there are {', '.join(TABLES)}")
    async with Database.open(db_path, readonly=True) as database:
        columns = await database.columns(table)
        rows = database.stream(f"SELECT * FROM {table}")
        with _output(out, database.path) as file:
            write = _writer(file, columns, json=json)
            count = 0
            async for row in rows:
                write(row)
                count += 1
    if out is not None:
        print(f"{count} rows of {table} written to {out}", file=sys.stderr)
    return OK


def _writer(file: TextIO, columns: Sequence[str], *, json: bool) -> Callable[[Sequence[Any]], object]:
    """What writes one row; for CSV the header is written at once."""
    if json:
        encode = msgspec.json.Encoder().encode
        return lambda row: file.write(encode(dict(zip(columns, row, strict=True))).decode() + "\n")
    write = csv.writer(file, lineterminator="\n").writerow
    write(columns)
    return write


@contextmanager
def _output(out: str | None, database: Path) -> Iterator[TextIO]:
    if out is None:
        with _write_failures("standard output"):
            yield sys.stdout
            sys.stdout.flush()
        return
    # A slip of the hand must not write over the account.
    beside = (database, *(Path(f"{database}{end}") for end in ("-wal", "-shm", ".lock")))
    if any(os.path.exists(out) and file.exists() and os.path.samefile(file, out) for file in beside):
        raise InputError(f"--out {out}: that is the database itself; name another file")
    try:
        file = open(out, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed below; its errors are others
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; name a file that can be written") from error
    with _write_failures(out), file:
        yield file


@contextmanager
def _write_failures(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Whoever reads has seen enough.
        raise
    except OSError as error:
        raise StoreError(f"cannot write to {name}: {error.strerror}") from error
