"""The catalogue of backtests: what runs there are, and how one is removed."""

from collections.abc import Sequence
from pathlib import Path

from bot import program
from bot.errors import InputError
from bot.store.database import Database, discard
from bot.store.runs.catalogue import INDEX_NAME, Run, check_name, forget_run, load_runs, run_path
from bot.store.runs.schema import INDEX


async def known_runs(folder: Path) -> list[Run]:
    """All runs that the folder's index knows, oldest first."""
    index_path = folder / INDEX_NAME
    if not index_path.exists():
        return []
    async with Database.open(index_path, kind=INDEX, readonly=True) as index:
        return await load_runs(index)


def named(runs: Sequence[Run], names: Sequence[str], folder: Path) -> list[Run]:
    """Those of these names, in their order. InputError for a name that is none, and for fewer than two."""
    if len(names) < 2:
        raise InputError(f"--compare: name at least two runs; {program.name()} runs lists them")
    by_name = {each.name: each for each in runs}
    for name in names:
        if name not in by_name:
            raise InputError(
                f"--compare: there is no run {name} in {folder}; {program.name()} runs lists them"
            )
    return [by_name[name] for name in names]


async def delete(folder: Path, name: str) -> None:
    """Remove a run's database and its row. InputError where there is none, or it is being written."""
    path = run_path(folder, check_name(name))
    known = name in {each.name for each in await known_runs(folder)}
    if not known and not path.exists():
        raise InputError(f"--delete: there is no run {name} in {folder}; {program.name()} runs lists them")
    # Refuses what is no backtest, and one that is being written.
    await discard(path, "backtest")
    if known:
        async with Database.open(folder / INDEX_NAME, kind=INDEX) as index:
            await forget_run(index, name)
