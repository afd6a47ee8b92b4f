"""``explain``: why one decision (by default the last) was made, and what came of it."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("explain 1234",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """The signal's id; None: the last one's."""

    id: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The decision, and a backtest's name."""
    parser.add_argument("id", nargs="?", type=int, metavar="ID", help="a signal's id (default: the last)")
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the decision, its checks, its forecast and what followed."""
    return asyncio.run(_run(options, config))


async def _run(options: Options, config: "Config") -> int:
    from bot.commands.chosen_database import database_line, reading
    from bot.store.account.decisions import load_explanation
    from bot.terminal.explanation import print_explanation
    from bot.terminal.tables import print_text

    async with reading(options, config) as database:
        found = await load_explanation(database, options.id)
        if options.json:
            print(msgspec.json.encode(found).decode())
        else:
            print_text(await database_line(database))
            print_explanation(found)
    return 0
