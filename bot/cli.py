"""Arguments in, exit code out. Nothing heavy is imported before a command is known."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from bot import __version__, standard_streams
from bot.commands.arguments import at_least, count, count_or_zero, duration, named_file, path, share, when
from bot.commands.category import category_of, require_offline
from bot.commands.common_arguments import add_files, add_modes, common_options
from bot.commands.hand_arguments import HANDS, add_hands
from bot.commands.store_arguments import add_history, add_run_of_its_own, add_runs
from bot.config_paths import defaults_note
from bot.errors import BotError, ConfigError, InputError, printable
from bot.market.times import interval_from_name
from bot.shipped import look_beside
from bot.store.tables import TABLES

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

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

    0 a clean stop, 1 a failure at run time, 2 a user's mistake, reported in one line, 130 a finite job cut short.
    """
    args, code = argparse.Namespace(traceback=False, command=None, place_note=None), OK
    try:
        code = _parsed_and_run(args, arguments, strategies)
        # A pipe that was closed shows here at the latest, not while Python ends.
        sys.stdout.flush()
        if args.place_note is not None and args.command is not None:
            print(args.place_note, file=sys.stderr)
        return code
    except BotError as error:
        if args.traceback:
            traceback.print_exception(error)
        code = MISUSED if isinstance(error, ConfigError | InputError) else FAILED
        note = f" ({args.place_note})" if code == MISUSED and args.place_note is not None else ""
        print(f"error: {printable(str(error))}{note}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        if args.command is None:
            return OK
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except standard_streams.ReaderGone:
        return code


def _parsed_and_run(args: argparse.Namespace, arguments: Sequence[str], strategies: Mapping[str, str]) -> int:
    parser = _parser()
    try:
        parser.parse_args(arguments, args)
    except SystemExit:
        # Help, the version, or what was wrong, which argparse has said.
        sys.stdout.flush()
        raise
    if args.mode is None and args.command is None:
        parser.print_help()
        return MISUSED
    if getattr(args, "json", False):
        standard_streams.results_are_json()
    return _run(args, strategies)


def _run(args: argparse.Namespace, strategies: Mapping[str, str]) -> int:
    from bot.config import load

    config = load(args.config, _overrides(args), named_category=category_of(args))
    if args.command not in ("replay", "parity"):  # they go by what the recording has
        args.place_note = defaults_note(args.config)
    look_beside(Path(args.config or "config.toml"))
    require_offline(args, config.run.category)
    if args.command is None:
        from bot.commands import live

        return asyncio.run(live.run(args, config, args.mode, strategies))
    if args.command == "backtest":
        from bot.commands import backtest

        return asyncio.run(backtest.run(args, config, strategies))
    if args.command == "replay":
        from bot.commands import replay

        return asyncio.run(replay.run(args, config, strategies))
    if args.command == "import":
        from bot.commands import data

        return asyncio.run(data.run(args, config))
    if args.command == "fetch" and args.source == "yahoo":
        from bot.commands import fetch_yahoo

        return asyncio.run(fetch_yahoo.run(args, config))
    if args.command == "fetch":
        from bot.commands import fetch

        return asyncio.run(fetch.run(args, config))
    if args.command == "runs":
        from bot.commands import runs

        return asyncio.run(runs.run(args, config))
    if args.command in HANDS:
        from bot.commands import by_hand

        return asyncio.run(by_hand.run(args, config))
    if args.command == "parity":
        from bot.commands import parity

        return asyncio.run(parity.run(args, config, strategies))
    if args.command == "report":
        from bot.commands import report

        return asyncio.run(report.run(args, config, strategies))
    if args.command == "export":
        from bot.commands import export

        return asyncio.run(export.run(args, config))
    if args.command == "train":
        from bot.commands import train

        return asyncio.run(train.run(args, config))
    if args.command == "evaluate":
        from bot.commands import evaluate

        return asyncio.run(evaluate.run(args, config, strategies))
    if args.command in ("show-config", "doctor"):
        from bot.commands import doctor

        return asyncio.run(doctor.run(args, config, strategies))
    from bot.commands import inspect

    return asyncio.run(inspect.run(args, config))


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Command line options that stand for a key of the configuration."""
    return {
        "run.symbols": args.symbols,
        # A name of no interval is refused with all others that the configuration knows.
        "run.interval": args.interval and (interval_from_name(args.interval) or args.interval),
        "run.category": args.category,
        "run.database": args.db,
        "run.history": getattr(args, "history", None),
        "strategy.name": args.strategy,
    }


def _parser() -> argparse.ArgumentParser:
    common = common_options(argparse.SUPPRESS)
    add_modes(common, {mode: f"the {mode}'s database, or exchange" for mode in _MODES})
    parser = argparse.ArgumentParser(
        prog="run_bot.py",
        description="A live paper-trading bot for Bybit that remembers. No API key, no real orders, ever.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_options(None)],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_modes(parser, _MODES)
    live = parser.add_argument_group("live sessions")
    live.add_argument("--run-for", type=duration, metavar="TIME", help="a clean stop after 90s, 15m, 8h, 7d")
    live.add_argument("--max-bars", type=count, metavar="N", help="a clean stop after N live bars a symbol")
    streamed = "with --demo: stream a file's bars ([SYMBOL=]FILE, repeatable)"
    live.add_argument("--data", action="append", type=named_file, metavar="FILE", help=streamed)
    rules = "with --data: trading rules, as for backtest; repeatable"
    live.add_argument("--instrument", action="append", type=path, metavar="FILE", help=rules)
    live.add_argument("--symbol", metavar="S", help="symbol of a single file whose name does not say it")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, text: str, example: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=fill(
                f"{text[:1].upper()}{text[1:]}. {more}", min(90, get_terminal_size().columns - 2)
            ),
            epilog=f"example:\n  run_bot.py {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )

    backtest = command(
        "backtest",
        "the same bot over a file's bars or stored history, as a run of its own",
        "backtest --data BTCUSDT_binance-perp_1h.csv.gz --warmup 2000 \\\n"
        "      --funding BTCUSDT_binance-perp_funding.csv.gz",
    )
    add_files(backtest)
    backtest.add_argument(
        "--from", dest="since", type=when, metavar="TIME", help="from 2024-01-31[T12:00] on"
    )
    backtest.add_argument("--to", dest="until", type=when, metavar="TIME", help="until before this time")
    backtest.add_argument(
        "--warmup",
        type=count_or_zero,
        metavar="N",
        help="bars per symbol to observe before the first decision (default: memory.warmup_bars of those before "
        "--from, else of the first ones, at most half)",
    )
    add_run_of_its_own(backtest)
    add_history(backtest)
    backtest.add_argument(
        "--fills",
        choices=("optimistic", "realistic", "brutal", "all", "band"),
        help="how kindly orders fill; all: every preset side by side",
    )
    replay = command(
        "replay",
        "a recorded session through the same bot, with no network",
        "replay var/recordings/20240131T120000Z-1.rec.zst --verify var/demo.db",
        "Writes a database of its own (default: var/replay.db), in place of the last replay's.",
    )
    replay.add_argument(
        "recording", type=path, metavar="RECORDING", help="a session's file of run.recordings"
    )
    replay.add_argument(
        "--verify",
        type=path,
        metavar="DB",
        help="compare with the recorded session in DB; exit code 1 if they differ",
    )
    data = command(
        "import", "bars from CSV files into the history store", "import BTCUSDT_binance-perp_1h.csv.gz"
    )
    data.add_argument("files", nargs="+", type=path, metavar="FILE")
    data.add_argument("--symbol", metavar="S", help="symbol of a single file")
    add_history(data)
    fetch = command(
        "fetch",
        "history from the exchange into the history store",
        "fetch --symbols BTCUSDT,ETHUSDT --interval 60 --since 2024-01-01\n  run_bot.py backtest --symbols "
        "BTCUSDT,ETHUSDT --interval 60",
        "Asks only for bars that the store lacks, so a fetch that was stopped goes on, and "
        "holes are filled. The bars are mainnet's (venue bybit) or, with --testnet, testnet's (bybit-testnet). The "
        "symbols' trading rules are kept with them.",
    )
    fetch.add_argument("--since", type=when, required=True, metavar="TIME", help="from 2024-01-31 on (UTC)")
    fetch.add_argument(
        "--source",
        choices=("bybit", "yahoo"),
        default="bybit",
        help="yahoo: shares, through yfinance (extra `stocks`); for personal use by Yahoo's terms, and it breaks "
        "when Yahoo changes its pages",
    )
    add_history(fetch, venue=False)
    fetch.add_argument("--until", type=when, metavar="TIME", help="until before this time (default: now)")
    train = command(
        "train",
        "an encoder and odds from bars, as a checkpoint folder",
        "train --data BTCUSDT_binance-spot_1h.csv.gz --data ETHUSDT_binance-spot_1h.csv.gz "
        "--out var/checkpoint",
        "Without --data, from stored history of --symbols and --interval. It learns which windows "
        "of returns are two views of one shape, where outcomes do not enter, and then which states had the same "
        "odds. The last 15 % (odds: 10 %) of the time are kept for validation. Two runs of one seed give the "
        "same weights. On a GPU where there is one.",
    )
    add_files(train, traded=False)
    train.add_argument("--from", dest="since", type=when, metavar="TIME", help="only bars from TIME on")
    train.add_argument("--to", dest="until", type=when, metavar="TIME", help="only bars before TIME")
    train.add_argument(
        "--out",
        type=path,
        default="var/checkpoint",
        metavar="DIR",
        help="folder to write (default: var/checkpoint)",
    )
    add_history(train)
    train.add_argument("--steps", type=count, default=6000, metavar="N", help="at most (default: 6000)")
    train.add_argument(
        "--pairs", type=at_least(2), default=768, metavar="N", help="of views, at each step (default: 768)"
    )
    train.add_argument("--seed", type=count_or_zero, default=1, metavar="N", help="default: 1")
    train.add_argument(
        "--odds-steps", type=count, default=400, metavar="N", help="of the odds, after it (default: 400)"
    )
    train.add_argument(
        "--odds-only",
        type=path,
        metavar="DIR",
        help="new odds beside the encoder of this checkpoint, which stays as it is (--out may be the same)",
    )
    train.add_argument(
        "--network",
        choices=("window", "transformer"),
        default="window",
        help="window: minutes on a CPU; transformer: what ships, better and for a GPU (default: window)",
    )
    train.add_argument(
        "--simulated",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="of the shapes, the others are cut from bars; 1 needs none (default: 0.5)",
    )
    evaluate = command(
        "evaluate",
        "what model and bot are worth: walk-forward on bars beside baselines, or on generated markets",
        "evaluate --data BTCUSDT_binance-spot_1h.csv.gz\n  run_bot.py evaluate --market hard --seeds 11-18",
        "Without --data and --market, on stored history. Writes a Markdown report with charts, and "
        "its figures as JSON. The last 60 % of the bars are forecast, with a memory that goes on learning.",
    )
    add_files(evaluate)
    evaluate.add_argument(
        "--market", choices=("few", "hard", "none", "base"), help="generated markets, whose truth is known"
    )
    add_history(evaluate)
    evaluate.add_argument("--seeds", metavar="A-B", help="with --market: which ones (default: 11-18)")
    evaluate.add_argument(
        "--market-bars", type=at_least(2_000), metavar="N", help="with --market: how long (default: 90000)"
    )
    evaluate.add_argument(
        "--every", type=count, metavar="N", help="score each N-th bar (default: some 12,000 in all)"
    )
    evaluate.add_argument(
        "--quantile-trees", action="store_true", help="also LightGBM's quantiles: several minutes more"
    )
    evaluate.add_argument(
        "--odds", action="store_true", help="also head and memory of the odds: about a minute more a fold"
    )
    evaluate.add_argument(
        "--trials",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="configurations tried on these bars elsewhere, on top of those counted in the database",
    )
    evaluate.add_argument("--quick", action="store_true", help="a rough look in a fraction of the time")
    evaluate.add_argument(
        "--out",
        type=path,
        default="build/evaluation",
        metavar="DIR",
        help="folder to write (default: build/evaluation)",
    )
    parity = command(
        "parity",
        "whether a recorded session and a backtest over its bars decide and fill alike",
        "parity var/recordings/20240131T120000Z-1.rec.zst",
        "Tells the differences with their causes; exit code 1 if one has none that is known.",
    )
    parity.add_argument(
        "session",
        type=path,
        metavar="RECORDING|DB",
        help="a recording, or a database: its last recorded session",
    )
    add_runs(command("runs", "the catalogue of backtests", "runs --compare first second"))
    add_hands(command)
    trades = command("trades", "the trade log", "trades --json | jq .[0]")
    status = command("status", "the running or last session", "status --demo")
    explain = command("explain", "why one decision (or the last) was made", "explain 1234")
    explain.add_argument("id", nargs="?", type=int, metavar="ID", help="a signal's id (default: the last)")
    report = command(
        "report",
        "what trading came to, beside buy and hold, and how far its confidence can be believed",
        "report --mainnet --all",
    )
    which = report.add_mutually_exclusive_group()
    which.add_argument("--session", type=count, metavar="N", help="this session (default: the last)")
    which.add_argument("--all", action="store_true", help="the whole account, over all its sessions")
    report.add_argument(
        "--fills", choices=("band",), help="also score the session's recording under each preset of fills"
    )
    export = command(
        "export",
        "a table as CSV (with --json: a JSON object a line)",
        "export trade_log --out trades.csv",
        f"Tables: {', '.join(TABLES)}.",
    )
    export.add_argument("table", metavar="TABLE", help="one of those above")
    doctor = command("doctor", "a check of settings, books, strategy and connections", "doctor --mainnet")
    for reader in (trades, status, explain, report, export, doctor):
        reader.add_argument("--run", metavar="NAME", help="a backtest's own database; runs lists them")
    export.add_argument("--out", type=path, metavar="FILE", help="write here (default: standard output)")
    command("show-config", "the configuration in force", "show-config --json")
    return parser
