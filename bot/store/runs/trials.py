"""Configurations tried on bars: the best of many looks good by luck alone."""

from pathlib import Path

import msgspec
from msgspec import Struct

from bot.store.columns import Table
from bot.store.database import Database
from bot.store.runs.schema import INDEX

_TRIED = """
SELECT DISTINCT configuration FROM trials
WHERE interval = ? AND first_ms <= ? AND last_ms >= ? AND EXISTS (
    SELECT 1 FROM json_each(trials.symbols) AS tried, json_each(?) AS asked WHERE tried.value = asked.value
)
"""


class EvaluatedBars(Struct, frozen=True, kw_only=True):
    """The bars that a configuration was judged by: from ``first_ms`` to ``last_ms``, both starts of bars.

    ``sha256`` names their figures, where it is known.
    """

    symbols: tuple[str, ...]
    interval: str
    first_ms: int
    last_ms: int
    sha256: str | None = None


TRIALS = Table(
    "trials",
    EvaluatedBars,
    numbered="id",
    named={"sha256": "bars_sha256"},
    beside={"created_ms": int, "command": str, "configuration": str, "sharpe": float | None},
)


async def tried(index: Database, on: EvaluatedBars) -> set[str]:
    """What names each configuration that was judged by any of these symbols' bars of these times.

    Whichever run or venue they came from: venues' bars of one symbol are one market's.
    """
    symbols = msgspec.json.encode(on.symbols).decode()
    return {name for (name,) in await index.fetch(_TRIED, (on.interval, on.last_ms, on.first_ms, symbols))}


async def count_tried(index: Path, on: EvaluatedBars) -> int:
    """How many configurations were judged by these bars, as the index at this path has it; 0 without one."""
    if not _stands(index):
        return 0
    async with Database.open(index, kind=INDEX, readonly=True) as database:
        return len(await tried(database, on))


async def note_trial(
    index: Database,
    on: EvaluatedBars,
    *,
    created_ms: int,
    command: str,
    configuration: str,
    sharpe: float | None,
) -> None:
    """Write down that a configuration was judged. ``sharpe`` is annualized from daily returns."""
    row = TRIALS.row(on, created_ms, command, configuration, sharpe)
    async with index.transaction():
        await index.write(TRIALS.insert, [row])


async def copy_trials(made: Database, index: Database) -> None:
    """Write down in ``index`` what another has of trials."""
    rows = await made.fetch(f"SELECT {', '.join(TRIALS.written)} FROM trials ORDER BY id")
    async with index.transaction():
        await index.write(TRIALS.insert, rows)


def _stands(path: Path) -> bool:
    return path.exists()
