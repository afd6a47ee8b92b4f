"""The program's parser: every command by its line of help, and the arguments of the one that is asked for."""

import argparse
import importlib
import keyword
from collections.abc import Iterable
from shutil import get_terminal_size
from textwrap import fill
from types import ModuleType
from typing import Any

from bot import __version__, program
from bot.commands import live
from bot.commands.options import add_modes, common_arguments

COMMANDS = {
    "backtest": "the same bot over a file's bars or stored history, as a run of its own",
    "replay": "a recorded session through the same bot, with no network",
    "import": "bars from CSV files into the history store",
    "fetch": "history from the exchange into the history store",
    "train": "an encoder and odds from bars, as a checkpoint folder",
    "evaluate": "walk-forward evaluation: on bars beside baselines, or on generated markets of known truth",
    "parity": "compares a recorded session with a backtest over its bars, decision by decision",
    "runs": "the catalogue of backtests",
    "resume": "lets the bot enter again after a halt or a pause, running or not",
    "transfer": "money into the paper account, or out of it",
    "close": "cancels a symbol's open orders and closes its position at market",
    "pause": "lets nothing be entered until `resume`; exits go on",
    "symbols": "adds symbols to a bot, or drops them, running or not",
    "trades": "the trade log, one line a fill",
    "status": "the running or last session",
    "explain": "why one decision (or the last) was made",
    "report": "performance, costs and calibration, compared with buy and hold",
    "export": "a table as CSV (with --json: a JSON object a line)",
    "strategies": "the shipped strategies and the configured one, with their options",
    "doctor": "a check of settings, books, strategy and connections",
    "show-config": "the configuration in force",
}
"""Every command with its line of help; its module, of the same name, is in ``bot.commands``."""

_MODES = {
    "testnet": "paper trading on Bybit testnet market data, until stopped",
    "mainnet": "the same on mainnet market data; orders never leave the paper broker",
    "demo": "the same with no network: an embedded exchange streams a generated market",
}

_EXAMPLES = {
    "--demo --max-bars 200": "a first look, offline",
    "--mainnet --symbols BTCUSDT": "live data, paper orders",
    "explain": "why the last decision was made",
    "trades": "what was traded so far",
}


def module_of(command: str | None) -> ModuleType:
    """The module of a command, of a live session without one."""
    if command is None:
        return live
    name = command.replace("-", "_")
    return importlib.import_module(f"bot.commands.{name}{'_' if keyword.iskeyword(name) else ''}")


class CommandParser(argparse.ArgumentParser):
    """A command's parser, which has the command's own arguments once they are asked for."""

    command: str | None = None
    program = ""

    def complete(self) -> None:
        """Import the command's module for its arguments and examples."""
        if self.command is None:
            return
        module, text, self.command = module_of(self.command), COMMANDS[self.command], None
        about = f"{text[:1].upper()}{text[1:]}. {getattr(module, 'ABOUT', '')}"
        self.description = fill(about, min(90, get_terminal_size().columns - 2))
        self.epilog = _lines("example:", (f"{self.program} {example}" for example in module.EXAMPLES))
        module.add_arguments(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.complete()
        return super().parse_known_args(args, namespace)


def parsers(called: str | None = None) -> tuple[argparse.ArgumentParser, dict[str, CommandParser]]:
    """The program's parser, and that of each command, which are complete only where they are asked to be.

    ``called`` is the program's name in their texts; None: as it was called.
    """
    called = called or program.name()
    common = common_arguments(argparse.SUPPRESS)
    add_modes(common, {mode: f"the {mode}'s database, or exchange" for mode in _MODES})
    width = max(map(len, _EXAMPLES))
    parser = argparse.ArgumentParser(
        prog=called,
        description="A live paper-trading bot for Bybit that remembers. No API key, no real orders, ever.",
        epilog=_lines("examples:", (f"{called} {words:<{width}}  {why}" for words, why in _EXAMPLES.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_arguments(None)],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_modes(parser, _MODES)
    live.add_arguments(parser)
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=CommandParser
    )
    commands: dict[str, CommandParser] = {}
    for command, text in COMMANDS.items():
        commands[command] = subparsers.add_parser(
            command,
            help=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],  # type: ignore[list-item]  # which may be any parser
        )
        commands[command].command, commands[command].program = command, called
    return parser, commands


def complete_parser(called: str | None = None) -> tuple[argparse.ArgumentParser, dict[str, CommandParser]]:
    """The same with the arguments of every command."""
    parser, commands = parsers(called)
    for command in commands.values():
        command.complete()
    return parser, commands


def _lines(title: str, lines: Iterable[str]) -> str:
    return "\n  ".join((title, *lines))
