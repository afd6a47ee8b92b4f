"""Arguments in, exit code out. A command's module is imported when it is the one asked for."""

import argparse
import importlib
import keyword
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from types import ModuleType
from typing import Any

from bot import __version__, standard_streams
from bot.commands import live
from bot.commands.options import CommonOptions, add_modes, common_arguments, options_of
from bot.config_paths import defaults_note
from bot.errors import BotError, ConfigError, InputError, printable
from bot.shipped import look_beside

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

COMMANDS = {
    "backtest": "the same bot over a file's bars or stored history, as a run of its own",
    "replay": "a recorded session through the same bot, with no network",
    "import": "bars from CSV files into the history store",
    "fetch": "history from the exchange into the history store",
    "train": "an encoder and odds from bars, as a checkpoint folder",
    "evaluate": "what model and bot are worth: walk-forward on bars beside baselines, or on generated markets",
    "parity": "whether a recorded session and a backtest over its bars decide and fill alike",
    "runs": "the catalogue of backtests",
    "resume": "lets the bot enter again after a halt or a pause, running or not",
    "transfer": "money into the paper account, or out of it",
    "close": "cancels a symbol's open orders and closes its position at market",
    "pause": "lets nothing be entered until `resume`; exits go on",
    "symbols": "adds symbols to a bot, or drops them, running or not",
    "trades": "the trade log",
    "status": "the running or last session",
    "explain": "why one decision (or the last) was made",
    "report": "what trading came to, beside buy and hold, and how far its confidence can be believed",
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

_AS_RECORDED = ("replay", "parity")
"""Commands that go by the configuration that a recording has."""

_EXAMPLES = """examples:
  run_bot.py --demo --max-bars 200        a first look, offline
  run_bot.py --mainnet --symbols BTCUSDT  live data, paper orders
  run_bot.py explain                      why the last decision was made
  run_bot.py trades                       what was traded so far
"""


def main(arguments: Sequence[str], strategies: Mapping[str, str]) -> int:
    """Run one command. ``strategies`` maps names to ``module:Class``; returns the exit code.

    0 a clean stop, 1 a failure at run time, 2 a user's mistake, reported in one line, 130 a finite job cut short.
    """
    options, note, code = CommonOptions(), None, OK
    try:
        given = _parsed(arguments)
        if given is None:
            return MISUSED
        options = given
        # Behind it stands numpy, which help spares.
        from bot.config import load

        config = load(
            options.config,
            options.overrides(),
            named_category=options.named_category(),
            note=lambda text: print(f"note: {text}", file=sys.stderr),
        )
        if options.command not in _AS_RECORDED:
            note = defaults_note(options.config)
        look_beside(Path(options.config or "config.toml"))
        code = int(module_of(options.command).run(options, config, strategies))
        # A pipe that was closed shows here at the latest, not while Python ends.
        sys.stdout.flush()
        if note is not None and options.command is not None:
            print(note, file=sys.stderr)
        return code
    except BotError as error:
        if options.traceback:
            traceback.print_exception(error)
        code = MISUSED if isinstance(error, ConfigError | InputError) else FAILED
        where = f" ({note})" if code == MISUSED and note is not None else ""
        print(f"error: {printable(str(error))}{where}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        if options.command is None:
            return OK
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except standard_streams.ReaderGone:
        return code


def module_of(command: str | None) -> ModuleType:
    """The module of a command, of a live session without one."""
    if command is None:
        return live
    name = command.replace("-", "_")
    return importlib.import_module(f"bot.commands.{name}{'_' if keyword.iskeyword(name) else ''}")


def parser_of_all() -> argparse.ArgumentParser:
    """The program's parser, with the arguments of every command."""
    parser, commands = _parser()
    for command in commands.values():
        command.complete()
    return parser


def _parsed(arguments: Sequence[str]) -> CommonOptions | None:
    """What is asked for; None, after help, for neither a mode nor a command."""
    parser, _ = _parser()
    try:
        args = parser.parse_args(arguments)
    except SystemExit:
        # Help, the version, or what was wrong, which argparse has said.
        sys.stdout.flush()
        raise
    if args.mode is None and args.command is None:
        parser.print_help()
        return None
    if args.json:
        standard_streams.results_are_json()
    options: CommonOptions = options_of(module_of(args.command).Options, args)
    return options


class _CommandParser(argparse.ArgumentParser):
    """A command's parser, which has the command's own arguments once they are asked for."""

    command: str | None = None

    def complete(self) -> None:
        """Import the command's module for its arguments and examples."""
        if self.command is None:
            return
        module, text, self.command = module_of(self.command), COMMANDS[self.command], None
        about = f"{text[:1].upper()}{text[1:]}. {getattr(module, 'ABOUT', '')}"
        self.description = fill(about, min(90, get_terminal_size().columns - 2))
        self.epilog = "\n  run_bot.py ".join(("example:", *module.EXAMPLES))
        module.add_arguments(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.complete()
        return super().parse_known_args(args, namespace)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, _CommandParser]]:
    common = common_arguments(argparse.SUPPRESS)
    add_modes(common, {mode: f"the {mode}'s database, or exchange" for mode in _MODES})
    parser = argparse.ArgumentParser(
        prog="run_bot.py",
        description="A live paper-trading bot for Bybit that remembers. No API key, no real orders, ever.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_arguments(None)],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_modes(parser, _MODES)
    live.add_arguments(parser)
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser
    )
    commands: dict[str, _CommandParser] = {}
    for command, text in COMMANDS.items():
        commands[command] = subparsers.add_parser(
            command,
            help=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],  # type: ignore[list-item]  # which may be any parser
        )
        commands[command].command = command
    return parser, commands
