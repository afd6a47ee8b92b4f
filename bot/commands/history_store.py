"""Which history store a command means, opened for it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.commands.options import CommonOptions
from bot.config import Config
from bot.store.database import Database
from bot.store.history.store import open_history


def history_path(options: CommonOptions, config: Config) -> Path:
    """``--db`` of a command that works on the history store alone, else ``run.history``."""
    return Path(options.db) if options.db else config.history_path


@asynccontextmanager
async def opened(path: Path, config: Config, *, create: bool = False) -> AsyncIterator[Database]:
    """The store, with what earlier versions kept elsewhere; a line on standard error says what was copied."""
    async with open_history(
        path,
        earlier=Path(config.run.database.replace("{mode}", "backtest")),
        tell=lambda text: print(text, file=sys.stderr),
        create=create,
    ) as history:
        yield history
