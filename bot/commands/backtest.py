"""``backtest``: the same core over a file's bars, stored history, or an earlier run's bars once more."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from bot.commands.arguments import count_or_zero, fills_name, when
from bot.commands.options import TradedBarOptions, add_files, add_history

if TYPE_CHECKING:
    from bot.config import Config

OK, INTERRUPTED = 0, 130

EXAMPLES = (
    "backtest --data BTCUSDT_binance-perp_1h.csv.gz --warmup 2000 \\\n"
    "      --funding BTCUSDT_binance-perp_funding.csv.gz",
)


class Options(TradedBarOptions, frozen=True, kw_only=True):
    """Bars from ``since`` on and before ``until`` (UTC milliseconds), after ``warmup`` observed ones a symbol.

    ``name`` is the run's, ``again`` an earlier one's that is made once more. ``fills`` is a preset, or ``all``.
    """

    since: int | None = None
    until: int | None = None
    warmup: int | None = None
    name: str | None = None
    again: str | None = None
    fills: Literal["optimistic", "realistic", "pessimistic", "all"] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, times, and what the run is called."""
    add_files(parser)
    parser.add_argument("--from", dest="since", type=when, metavar="TIME", help="from 2024-01-31[T12:00] on")
    parser.add_argument("--to", dest="until", type=when, metavar="TIME", help="until before this time")
    parser.add_argument(
        "--warmup",
        type=count_or_zero,
        metavar="N",
        help="bars per symbol to observe before the first decision (default: memory.warmup_bars of those before "
        "--from, else of the first ones, at most half)",
    )
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: time, strategy, symbols)")
    parser.add_argument("--again", metavar="NAME", help="an earlier run once more, from its own database")
    add_history(parser)
    parser.add_argument(
        "--fills",
        type=fills_name,
        choices=("optimistic", "realistic", "pessimistic", "all"),
        help="assumptions on spread, slippage, impact and volume; all: every preset side by side",
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Make a run of its own and print its summary; with ``--fills all``, the other presets beside it."""
    from bot import logs

    logs.configure(config.log)
    return asyncio.run(_run(options, config, strategies))


async def _run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    from bot.sessions import backtest_plan
    from bot.sessions.backtest import backtest
    from bot.sessions.fill_scenarios import PRESETS
    from bot.terminal.fill_scenarios import as_json, print_scenarios
    from bot.terminal.progress import Progress
    from bot.terminal.summary import print_summary

    asked = backtest_plan.Options(
        data=options.data,
        symbol=options.symbol,
        interval=options.interval,
        symbols=options.symbols,
        venue=options.venue,
        funding=options.funding,
        no_funding=options.no_funding,
        instruments=options.instrument,
        since_ms=options.since,
        until_ms=options.until,
        warmup=options.warmup,
        fills=next((preset for preset in PRESETS if preset == options.fills), None),
        all_fills=options.fills == "all",
        name=options.name,
        database=options.db,
        again=options.again,
    )
    with Progress() as progress:
        result = await backtest(asked, config, strategies, progress=progress, tell=_tell)
    summary = result.summary
    if result.interrupted:
        done = f"{summary.bars} of its bars are decided and kept in {summary.database}"
        _tell(f"interrupted: run {result.name}: {done}")
        return INTERRUPTED
    if options.json:
        scenarios = result.scenarios
        print(as_json(summary, scenarios) if scenarios else msgspec.json.encode(summary).decode())
        return OK
    print_summary(summary, as_json=False)
    if result.scenarios:
        print_scenarios(result.scenarios)
    return OK


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
