"""Configurations tried on bars, kept where those bars are: the best of many looks good by luck alone."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from bot.store.database import Database, Identity, holder

_TRIAL = """
INSERT INTO trials (made_ms, command, symbols, interval, first_ms, last_ms, configuration, sharpe)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

_TRIED = """
SELECT DISTINCT configuration FROM trials
WHERE interval = ? AND first_ms <= ? AND last_ms >= ? AND EXISTS (
    SELECT 1 FROM json_each(trials.symbols) AS tried, json_each(?) AS asked WHERE tried.value = asked.value
)
"""


class Judged(Struct, frozen=True, kw_only=True):
    """The bars by which a configuration was judged: from ``first_ms`` to ``last_ms``, both starts of bars."""

    symbols: tuple[str, ...]
    interval: str
    first_ms: int
    last_ms: int


def keeping_trials(path: Path, identity: Identity) -> AbstractAsyncContextManager[Database]:
    """The database at ``path``, migrated where it is older; created as ``identity``'s where none stands.

    Where somebody writes to it, beside them.
    """
    if not path.exists():
        return Database.open(path, identity)
    return Database.open(path) if holder(path) is None else Database.beside(path)


async def tried(database: Database, on: Judged) -> set[str]:
    """What names each configuration that was judged by any of these bars."""
    symbols = msgspec.json.encode(on.symbols).decode()
    return {name for (name,) in await database.fetch(_TRIED, (on.interval, on.last_ms, on.first_ms, symbols))}


async def note_trial(
    database: Database, on: Judged, *, made_ms: int, command: str, configuration: str, sharpe: float | None
) -> None:
    """Write down that a configuration was judged. ``sharpe`` is annualised from daily returns."""
    symbols = msgspec.json.encode(on.symbols).decode()
    row = (made_ms, command, symbols, on.interval, on.first_ms, on.last_ms, configuration, sharpe)
    async with database.transaction():
        await database.write(_TRIAL, [row])
