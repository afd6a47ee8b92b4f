"""``runs``: the catalogue of backtests: listed, compared, deleted."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("runs --compare first second",)


class Options(CommonOptions, frozen=True, kw_only=True):
    """Names of runs to show side by side, or of one to delete; without any, all are listed."""

    compare: tuple[str, ...] | None = None
    delete: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the catalogue."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compare", nargs="+", metavar="NAME", help="two or more runs side by side")
    what.add_argument(
        "--delete", metavar="NAME", help="a run's database and its row; that it was tried stays counted"
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """List, compare or delete the runs of ``run.runs``."""
    from bot.commands import catalogue

    return asyncio.run(catalogue.run(options, config))
