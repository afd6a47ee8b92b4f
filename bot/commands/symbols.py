"""``symbols``: adds symbols to a bot, or drops them."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.arguments import names
from bot.commands.options import CommonOptions, add_note

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("symbols --add SOLUSDT,XRPUSDT --drop ETHUSDT",)
ABOUT = (
    "A new symbol warms up beside the others. A dropped one is only closed, and let go once it is flat. It holds until "
    "run.symbols itself is changed."
)


class Options(CommonOptions, frozen=True, kw_only=True):
    """Symbols to trade besides, and symbols to close only."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The symbols."""
    parser.add_argument("--add", type=names, metavar="A,B", help="trade these too")
    parser.add_argument("--drop", type=names, metavar="C,D", help="only close these")
    add_note(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Ask for it, and say what became of it."""
    from bot.commands.answers import answered
    from bot.sessions import by_hand

    return asyncio.run(
        answered(options, config, lambda path: by_hand.symbols(path, options.add, options.drop, options.note))
    )
