"""Arguments in, exit code out. Nothing heavy is imported before a command is known."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bot import __version__
from bot.errors import BotError, ConfigError, InputError

OK, FAILED, MISUSED = 0, 1, 2

_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_MODES = {
    "testnet": "paper trading on Bybit testnet market data, until stopped",
    "mainnet": "the same on mainnet market data; orders never leave the paper broker",
    "demo": "the same with no network: an embedded exchange streams a generated market",
}

_EXAMPLES = """examples:
  run_bot.py --demo --max-bars 200        a first look, offline
  run_bot.py --mainnet --symbols BTCUSDT  live data, paper orders
  run_bot.py explain                      why the last decision was made
  run_bot.py trades                       what was traded so far
"""


def main(arguments: Sequence[str], strategies: Mapping[str, str]) -> int:
    """Run one command. ``strategies`` maps names to ``module:Class``; returns the exit code.

    0 a clean stop, 1 a failure at run time, 2 a user's mistake, told in one line.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.mode is None and args.command is None:
        parser.print_help()
        return MISUSED
    try:
        return _run(args, strategies)
    except (ConfigError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    except BotError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return OK
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python would complain once more while flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _run(args: argparse.Namespace, strategies: Mapping[str, str]) -> int:
    from bot import config as configuration

    config = configuration.load(args.config, _overrides(args))
    if args.command is None:
        from bot.commands import live

        return asyncio.run(live.run(args, config, args.mode, strategies))
    if args.command == "backtest":
        from bot.commands import backtest

        return asyncio.run(backtest.run(args, config, strategies))
    if args.command == "import":
        from bot.commands import data

        return asyncio.run(data.run(args, config))
    if args.command in ("show-config", "doctor"):
        from bot.commands import doctor

        return asyncio.run(doctor.run(args, config, strategies))
    from bot.commands import inspect

    return asyncio.run(inspect.run(args, config))


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Command line options that stand for a key of the configuration."""
    return {
        "run.symbols": args.symbols,
        "run.interval": args.interval,
        "run.database": args.db,
    }


def _parser() -> argparse.ArgumentParser:
    common = _common_options(argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="run_bot.py",
        description="A live paper-trading bot for Bybit that remembers. No API key, no real orders, ever.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common_options(None)],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    modes = parser.add_mutually_exclusive_group()
    for mode, text in _MODES.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)
    live = parser.add_argument_group("live sessions")
    live.add_argument("--run-for", type=_duration, metavar="TIME", help="a clean stop after 90s, 15m, 8h, 7d")
    live.add_argument("--max-bars", type=_count, metavar="N", help="a clean stop after N live bars a symbol")
    live.add_argument(
        "--data",
        action="append",
        metavar="FILE",
        help="with --demo: stream a file's bars ([SYMBOL=]FILE, repeatable)",
    )
    live.add_argument("--symbol", metavar="S", help="symbol of a single file whose name does not say it")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=f"example:\n  run_bot.py {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )

    backtest = command(
        "backtest",
        "the same bot over a file's bars or the stored ones",
        "backtest --data BTCUSDT_binance-perp_1h.csv.gz --warmup 2000",
    )
    backtest.add_argument("--data", action="append", metavar="FILE", help="[SYMBOL=]FILE, repeatable")
    backtest.add_argument("--symbol", metavar="S", help="symbol of a single file")
    backtest.add_argument(
        "--from", dest="since", type=_when, metavar="TIME", help="from 2024-01-31[T12:00] on"
    )
    backtest.add_argument("--to", dest="until", type=_when, metavar="TIME", help="until before this time")
    backtest.add_argument(
        "--warmup",
        type=_count_or_zero,
        default=500,
        metavar="N",
        help="bars per symbol before the first decision",
    )
    data = command("import", "bars from CSV files into the store", "import BTCUSDT_binance-perp_1h.csv.gz")
    data.add_argument("files", nargs="+", metavar="FILE")
    data.add_argument("--symbol", metavar="S", help="symbol of a single file")
    command("trades", "the trade log", "trades --json | jq .[0]")
    command("status", "the running or last session", "status --demo")
    explain = command("explain", "why one decision (or the last) was made", "explain 1234")
    explain.add_argument("id", nargs="?", type=int, metavar="ID", help="a signal's id (default: the last)")
    command("show-config", "the configuration in force", "show-config --json")
    command("doctor", "a check of configuration, database, strategy and connectivity", "doctor --mainnet")
    return parser


def _common_options(default: Any) -> argparse.ArgumentParser:
    """Options that may stand before or behind a command; there, only what is given may override."""
    common = argparse.ArgumentParser(add_help=False, argument_default=default)
    group = common.add_argument_group("common options")
    group.add_argument("--config", metavar="PATH", help="configuration file (default: config.toml)")
    group.add_argument("--db", metavar="PATH", help="database (default: var/MODE.db)")
    group.add_argument("--symbols", type=_names, metavar="A,B", help="symbols, as BTCUSDT,ETHUSDT")
    group.add_argument("--interval", metavar="N", help="bar interval: 1 3 5 15 30 60 120 240 360 720 D W")
    group.add_argument("--json", action="store_true", help="machine-readable results on standard output")
    return common


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(text: str) -> int:
    number = _count_or_zero(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _count_or_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _duration(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * _DURATION_SECONDS[unit]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 8h or 7d") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("a duration is longer than nothing")
    return seconds


def _when(text: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2024-01-31 or 2024-01-31T12:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
