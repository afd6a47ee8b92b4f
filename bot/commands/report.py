"""``report``: what the trading came to, beside buy and hold, and how far its confidence can be believed."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bot.commands.arguments import count
from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("report --mainnet --all",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """The session's id (None: the last), or ``all`` of them; ``fills`` scores the recording under each preset."""

    session: int | None = None
    all: bool = False
    fills: Literal["band"] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is reported on."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--session", type=count, metavar="N", help="this session (default: the last)")
    which.add_argument("--all", action="store_true", help="the whole account, over all its sessions")
    parser.add_argument(
        "--fills", choices=("band",), help="also score the session's recording under each preset of fills"
    )
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the report."""
    from bot.commands import account_report

    return asyncio.run(account_report.run(options, config, strategies))
