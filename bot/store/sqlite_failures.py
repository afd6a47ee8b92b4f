"""SQLite's failures in this bot's words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.errors import BotError, BrokenInvariant, DatabaseLocked, InputError, StoreError


@contextmanager
def translated(path: Path, *, opening: bool, reading: bool = False) -> Iterator[None]:
    """SQLite's failures in this bot's words. A ProgrammingError is a mistake of ours and stays one."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise BrokenInvariant(f"{path} refused a row: {error}") from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _in_words(error, path, opening=opening, reading=reading) from error


def _in_words(error: sqlite3.DatabaseError, path: Path, *, opening: bool, reading: bool) -> BotError:
    at_open: type[BotError] = InputError if opening else StoreError
    at_reading: type[BotError] = InputError if opening or reading else StoreError
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseLocked(f"{path} is locked by another program; close whatever else has it open")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"no room left to write {path}; everything up to the last commit is safe")
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"the disk failed under {path}: {error}")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return at_reading(f"{path} is not a database, or is damaged ({error}); use another --db")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return at_open(f"{path} cannot be opened for writing or reading: {error}; check its permissions")
        case _:
            return at_reading(f"{path}: {error}")
