"""``trades``: the trade log."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("trades --json | jq .[0]",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """Which database."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A backtest's name."""
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the log, oldest fill first."""
    from bot.commands import inspect

    return asyncio.run(inspect.run(options, config, lambda path: inspect.trades(path, json=options.json)))
