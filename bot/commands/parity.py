"""``parity``: whether a recorded session and a backtest over its bars decide and fill alike, and if not, why."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.arguments import path
from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("parity var/recordings/20240131T120000Z-1.rec.zst",)
ABOUT = "Tells the differences with their causes; exit code 1 if one has none that is known."


class Options(CommonOptions, frozen=True, kw_only=True):
    """The recording's file, or a database whose last recorded session is meant."""

    session: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recording."""
    parser.add_argument(
        "session",
        type=path,
        metavar="RECORDING|DB",
        help="a recording, or a database: its last recorded session",
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Compare; 1 where a difference has no known cause."""
    from bot.commands import parity_session

    return asyncio.run(parity_session.run(options, config, strategies))
