"""What a person's hand takes on the command line. Nothing heavy: it is read before a command is known."""

import argparse
from collections.abc import Callable

from bot.commands.arguments import amount, names

HANDS = ("resume", "transfer", "close", "pause", "symbols")


def add_hands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands of :data:`HANDS`; ``command`` takes a name, a help text, an example and more text."""
    resume = command(
        "resume",
        "lets the bot enter again after a halt or a pause, running or not",
        "resume --mainnet --note 'the loss was the strategy, not the bot'\n  run_bot.py resume BTCUSDT",
        "A halt sells everything and enters nothing until then; `status` shows it. Without a symbol it ends "
        "the halt and all pauses.",
    )
    resume.add_argument("symbol", nargs="?", metavar="SYMBOL", help="end the pause of this symbol alone")
    transfer = command(
        "transfer",
        "money into the paper account, or out of it",
        "transfer --mainnet 2500 --note 'second month'\n  run_bot.py transfer --mainnet -- -500",
        "Neither gain nor loss: returns, drawdown and the limits on losses leave it out.",
    )
    transfer.add_argument(
        "amount", type=amount, metavar="AMOUNT", help="in quote currency; below 0 is a withdrawal"
    )
    close = command(
        "close",
        "cancels a symbol's open orders and closes its position at market",
        "close BTCUSDT --note 'before the announcement'\n  run_bot.py close --all",
        "Through the same paper broker, running or not. What is decided later may enter again; `pause` "
        "stops that.",
    )
    which = close.add_mutually_exclusive_group(required=True)
    which.add_argument("symbol", nargs="?", metavar="SYMBOL", help="this symbol")
    which.add_argument("--all", action="store_true", help="everything that is held or rests")
    pause = command(
        "pause",
        "lets nothing be entered until `resume`; exits go on",
        "pause --note 'on holiday'\n  run_bot.py pause ETHUSDT",
    )
    pause.add_argument("symbol", nargs="?", metavar="SYMBOL", help="only this symbol (default: all)")
    symbols = command(
        "symbols",
        "adds symbols to a bot, or drops them, running or not",
        "symbols --add SOLUSDT,XRPUSDT --drop ETHUSDT",
        "A new symbol warms up beside the others. A dropped one is only closed, and let go once it is flat. It "
        "holds until run.symbols itself is changed.",
    )
    symbols.add_argument("--add", type=names, default=(), metavar="A,B", help="trade these too")
    symbols.add_argument("--drop", type=names, default=(), metavar="C,D", help="only close these")
    for parser in (resume, transfer, close, pause, symbols):
        parser.add_argument("--note", default="", metavar="TEXT", help="why; kept with the request")
