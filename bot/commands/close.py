"""``close``: a symbol's open orders are cancelled, its position is closed at market."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import CommonOptions, add_note

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("close BTCUSDT --note 'before the announcement'", "close --all")
ABOUT = "Through the same paper broker, running or not. What is decided later may enter again; `pause` stops that."


class Options(CommonOptions, frozen=True, kw_only=True):
    """The symbol, or everything that is held or rests."""

    symbol: str | None = None
    all: bool = False
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The symbol, or all."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("symbol", nargs="?", metavar="SYMBOL", help="this symbol")
    which.add_argument("--all", action="store_true", help="everything that is held or rests")
    add_note(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Ask for it, and say what became of it."""
    from bot.commands.answers import answered
    from bot.sessions import by_hand

    symbol = None if options.all else options.symbol
    return asyncio.run(answered(options, config, lambda path: by_hand.close(path, symbol, options.note)))
