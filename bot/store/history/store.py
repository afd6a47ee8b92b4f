"""Opening the history store, and bringing over what earlier versions kept in a backtest's database."""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from bot.errors import InputError
from bot.store.account.schema import ACCOUNT
from bot.store.database import Database
from bot.store.history.schema import HISTORY
from bot.store.history.tables import BARS

EARLIER_VENUE = "earlier-backtest"
"""What bars are filed under of which nobody wrote down where they came from."""

_COPY = f"""
INSERT INTO bars ({BARS.selected}, venue, category)
SELECT {BARS.selected}, '{EARLIER_VENUE}', (SELECT value FROM earlier.meta WHERE key = 'category')
FROM earlier.bars WHERE true ON CONFLICT DO NOTHING
"""


@asynccontextmanager
async def open_history(
    path: Path, *, earlier: Path, tell: Callable[[str], None], create: bool = False
) -> AsyncIterator[Database]:
    """The history store at ``path``; ``create`` opens it for writing, else it must be there.

    ``earlier`` is where earlier versions kept bars, in the backtest's own database: what is there is copied
    once, and ``tell`` is given a line that says so. Raises InputError where there is no store.
    """
    name = _absolute(earlier)
    if _has_bars(earlier) and not await _was_copied(path, name):
        async with Database.open(path, kind=HISTORY) as history:
            await history.attach(earlier, "earlier")
            async with history.transaction():
                copied = await history.write(_COPY, [()])
                await history.write(
                    "INSERT OR REPLACE INTO copied VALUES (?, ?)", [(name, time.time_ns() // 1_000_000)]
                )
        tell(
            f"{copied} bars of {earlier} were copied to {path} as venue {EARLIER_VENUE}; backtests read them there"
        )
    if not create and not _stands(path):
        raise InputError(
            f"there is no history at {path} yet; fetch or import bars, or name files with --data"
        )
    async with Database.open(path, kind=HISTORY, readonly=not create) as history:
        yield history


def _has_bars(path: Path) -> bool:
    """Whether an earlier version's backtest stands there that has bars."""
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            if file.execute("PRAGMA application_id").fetchone()[0] != ACCOUNT.application_id:
                return False
            # From the fourth schema on a backtest is a run of its own, and its bars are that run's.
            if file.execute("PRAGMA user_version").fetchone()[0] >= 4:
                return False
            mode = file.execute("SELECT value FROM meta WHERE key = 'mode'").fetchone()
            return mode == ("backtest",) and bool(file.execute("SELECT 1 FROM bars LIMIT 1").fetchone())
    except sqlite3.DatabaseError:
        # Whatever it is, it holds no bars that could be read.
        return False


async def _was_copied(path: Path, earlier: str) -> bool:
    if not _stands(path):
        return False
    async with Database.open(path, kind=HISTORY, readonly=True) as history:
        return bool(await history.value("SELECT count(*) FROM copied WHERE source = ?", (earlier,)))


def _stands(path: Path) -> bool:
    return path.exists()


def _absolute(path: Path) -> str:
    return str(path.absolute())
