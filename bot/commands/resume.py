"""``resume``: the bot may enter again after a halt or a pause."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.options import CommonOptions, add_note

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("resume --mainnet --note 'the loss was the strategy, not the bot'", "resume BTCUSDT")
ABOUT = (
    "A halt sells everything and enters nothing until then; `status` shows it. Without a symbol it ends the halt and "
    "all pauses."
)


class Options(CommonOptions, frozen=True, kw_only=True):
    """The symbol whose pause ends; None: the halt and all pauses."""

    symbol: str | None = None
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The symbol."""
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL", help="end the pause of this symbol alone")
    add_note(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Ask for it, and say what became of it."""
    from bot.commands.answers import answered
    from bot.sessions import by_hand

    return asyncio.run(
        answered(options, config, lambda path: by_hand.resume(path, options.symbol, options.note))
    )
