"""``doctor``: whether everything that the configuration names works."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("doctor --mainnet",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """Which database; without any, all that are there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A backtest's name."""
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the checks; 1 where one fails."""
    from bot.commands import examination

    return asyncio.run(examination.run(options, config, strategies))
