"""Run: one backtest as the index knows it; and the folder that runs stand in."""

import re
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from bot.errors import InputError
from bot.store.columns import Table
from bot.store.database import Database
from bot.store.rows import read

Status = Literal["running", "finished", "interrupted", "failed"]

INDEX_NAME = "index.db"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")


class Run(Struct, frozen=True, kw_only=True):
    """A run's row. Returns and drawdown are fractions; ``trades`` counts round trips.

    ``settings`` are those that differ from the defaults, by dotted key. ``data`` says where the bars came
    from, ``bars_sha256`` names those observed and decided on; ``first_ms`` and ``last_ms`` are the starts of
    the first and last decided one. ``sharpe`` is annualized, with its standard error. ``halted`` says when
    and why everything was closed.
    """

    name: str
    status: Status
    started_ms: int
    seconds: float
    strategy: str
    settings: dict[str, Any]
    symbols: tuple[str, ...]
    interval: str
    category: str
    data: str
    bars_sha256: str = ""
    first_ms: int | None = None
    last_ms: int | None = None
    observed: int = 0
    decided: int = 0
    fills: int = 0
    trades: int = 0
    total_return: float | None = None
    max_drawdown: float | None = None
    sharpe: float | None = None
    sharpe_error: float | None = None
    halted: str | None = None


RUNS = Table("runs", Run, key=("name",), named={"settings": "settings_json"})


def check_name(name: str) -> str:
    """The name, if a file may be called so; InputError otherwise."""
    if not _NAME.fullmatch(name) or f"{name}.db" == INDEX_NAME:
        raise InputError(
            f"--name {name!r}: a run's name is letters, digits, dots, dashes and underscores, 120 at most"
        )
    return name


def run_path(folder: Path, name: str) -> Path:
    """The database of the run so named."""
    return folder / f"{name}.db"


def index_beside(path: Path) -> Path:
    """The index that a run's database belongs to: in its own folder."""
    return path.parent / INDEX_NAME


async def save_run(index: Database, run: Run) -> None:
    """Write a run's row, in place of an earlier one of its name."""
    async with index.transaction():
        await index.write(RUNS.replace, [RUNS.row(run)])


async def load_runs(index: Database) -> list[Run]:
    """All runs, oldest first."""
    return list(await read(index, RUNS, "ORDER BY started_ms, name"))


async def forget_run(index: Database, name: str) -> bool:
    """Take a run's row out; whether there was one. Its trial stays."""
    async with index.transaction():
        return await index.write("DELETE FROM runs WHERE name = ?", [(name,)]) > 0
