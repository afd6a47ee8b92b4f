"""``explain``: why one decision was made."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("explain 1234",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """The signal's id; None: the last one's."""

    id: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The decision."""
    parser.add_argument("id", nargs="?", type=int, metavar="ID", help="a signal's id (default: the last)")
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print why the signal says what it says, and what became of it."""
    from bot.commands import inspect

    return asyncio.run(
        inspect.run(options, config, lambda path: inspect.explain(path, options.id, json=options.json))
    )
