"""Which database a reading command means, said on its first line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot import program
from bot.commands.catalogue import known_runs
from bot.commands.options import CommonOptions, DatabaseOptions
from bot.config import Config, Mode
from bot.errors import InputError
from bot.market import minute_text
from bot.store.believed import readable
from bot.store.database import Database
from bot.store.runs.catalogue import check_name, run_path

LIVE_MODES: tuple[Mode, ...] = ("mainnet", "testnet", "demo")


async def chosen_database(options: CommonOptions, config: Config) -> Path:
    """The database that ``--run``, ``--db`` or a mode names; without any, the only live one that is there.

    Raises InputError, with what there is, where that is none or several.
    """
    if options.symbols:
        raise InputError(
            f"--symbols says what a session trades; {options.command} speaks of all symbols of its database"
        )
    name = options.run if isinstance(options, DatabaseOptions) else None
    if name is not None:
        if options.db is not None or options.mode is not None:
            raise InputError("--run names a database by itself; leave out --db and the mode")
        path = run_path(config.runs_path, check_name(name))
        if not path.exists():
            raise InputError(f"there is no run {name} in {config.runs_path}; {await _there_is(config)}")
        return path
    if options.mode is not None or "{mode}" not in config.run.database:
        path = config.database_path(options.mode or "demo")
        if not path.exists():
            raise InputError(f"no database at {path}; {await _there_is(config)}")
        return path
    there = [path for mode in LIVE_MODES if (path := config.database_path(mode)).exists()]
    if len(there) == 1:
        return there[0]
    raise InputError(f"which database? {await _there_is(config)}")


@asynccontextmanager
async def reading(options: CommonOptions, config: Config) -> AsyncIterator[Database]:
    """That database, open to be read and shown: what can be made of no row is InputError, here too."""
    path = await chosen_database(options, config)
    with readable(path):
        async with Database.open(path, readonly=True) as database:
            yield database


async def database_line(database: Database) -> str:
    """Which database is read, and what it spans: the first line of what is printed of it."""
    ((sessions, first_ms, last_ms),) = await database.fetch(
        "SELECT (SELECT count(*) FROM sessions), min(decided_ms), max(decided_ms) FROM signals"
    )
    span = "no decision yet"
    if first_ms is not None:
        span = f"decisions of {minute_text(first_ms)} to {minute_text(last_ms)} UTC"
    return f"{database.path}: {database.identity}, {sessions} session{'' if sessions == 1 else 's'}, {span}"


async def _there_is(config: Config) -> str:
    """What could be named instead, and how."""
    named = [
        f"--{mode} ({path})"
        for mode in LIVE_MODES
        if "{mode}" in config.run.database and (path := config.database_path(mode)).exists()
    ]
    runs = await known_runs(config.runs_path)
    if runs:
        others = f", the newest of {len(runs)}; {program.name()} runs lists them" if len(runs) > 1 else ""
        named.append(f"--run {runs[-1].name}{others}")
    if not named:
        return f"there is none yet: {program.name()} --demo or {program.name()} backtest makes one"
    return f"name one: {', '.join(named)}"
