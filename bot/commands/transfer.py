"""``transfer``: money into the paper account, or out of it."""

import argparse
import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.commands.arguments import amount
from bot.commands.options import CommonOptions, add_note

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("transfer --mainnet 2500 --note 'second month'", "transfer --mainnet -- -500")
ABOUT = "Neither gain nor loss: returns, drawdown and the limits on losses leave it out."


class Options(CommonOptions, frozen=True, kw_only=True):
    """In quote currency; below 0 is a withdrawal."""

    amount: Decimal
    note: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The amount."""
    parser.add_argument(
        "amount", type=amount, metavar="AMOUNT", help="in quote currency; below 0 is a withdrawal"
    )
    add_note(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Ask for it, and say what became of it."""
    from bot.commands.answers import answered
    from bot.sessions import by_hand

    return asyncio.run(
        answered(options, config, lambda path: by_hand.transfer(path, options.amount, options.note))
    )
