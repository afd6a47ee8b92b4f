"""``backtest``: the same core over a file's bars, stored history, or an earlier run's bars once more."""

import argparse
import sys
from collections.abc import Mapping

import msgspec

from bot import logs
from bot.commands.band import as_json, print_scenarios
from bot.commands.progress import Progress
from bot.commands.summary import print_summary
from bot.config import Config
from bot.sessions.backtest import backtest
from bot.sessions.backtest_plan import Options
from bot.sessions.fill_scenarios import PRESETS

OK, INTERRUPTED = 0, 130


async def run(args: argparse.Namespace, config: Config, strategies: Mapping[str, str]) -> int:
    """Make a run of its own and print its summary; with ``--fills all``, the other presets beside it."""
    logs.configure(config.log)
    options = Options(
        data=tuple(args.data or ()),
        symbol=args.symbol,
        interval=args.interval,
        symbols=args.symbols,
        venue=args.venue,
        funding=tuple(args.funding or ()),
        no_funding=args.no_funding,
        instruments=tuple(args.instrument or ()),
        since_ms=args.since,
        until_ms=args.until,
        warmup=args.warmup,
        fills=args.fills if args.fills in PRESETS else None,
        all_fills=args.fills in ("all", "band"),
        name=args.name,
        database=args.db,
        again=args.again,
    )
    with Progress() as progress:
        result = await backtest(options, config, strategies, progress=progress, tell=_tell)
    summary = result.summary
    if result.interrupted:
        done = f"{summary.bars} of its bars are decided and kept in {summary.database}"
        _tell(f"interrupted: run {result.name}: {done}")
        return INTERRUPTED
    if args.json:
        scenarios = result.scenarios
        print(as_json(summary, scenarios) if scenarios else msgspec.json.encode(summary).decode())
        return OK
    print_summary(summary, as_json=False)
    if result.scenarios:
        print_scenarios(result.scenarios)
    return OK


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
