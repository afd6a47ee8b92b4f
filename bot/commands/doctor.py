"""``doctor``: whether everything that the configuration names works."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

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
    from bot.commands.examination import examine
    from bot.terminal.tables import print_text

    checks = asyncio.run(examine(options, config, strategies))
    if options.json:
        print(msgspec.json.encode(checks).decode())
    else:
        for check in checks:
            print_text(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}", indent=6)
    return 0 if all(check.ok for check in checks) else 1
