"""``pause``: nothing is entered until ``resume``; exits go on."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import CommonOptions, add_note

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("pause --note 'on holiday'", "pause ETHUSDT")


class Options(CommonOptions, frozen=True, kw_only=True):
    """The symbol that is not entered; None: any."""

    symbol: str | None = None
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The symbol."""
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL", help="only this symbol (default: all)")
    add_note(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Ask for it, and say what became of it."""
    from bot.commands.answers import answered
    from bot.sessions import by_hand

    return asyncio.run(
        answered(options, config, lambda path: by_hand.pause(path, options.symbol, options.note))
    )
