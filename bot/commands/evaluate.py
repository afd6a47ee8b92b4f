"""``evaluate``: walk-forward evaluation of model and bot, on bars beside baselines or on generated markets."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bot.commands.arguments import at_least, count, count_or_zero, path
from bot.commands.options import TradedBarOptions, add_files, add_history

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("evaluate --data BTCUSDT_binance-spot_1h.csv.gz", "evaluate --market hard --seeds 11-18")
ABOUT = (
    "Without --data and --market, on stored history. Writes a Markdown report with charts, and its figures as JSON. "
    "The last 60 % of the bars are forecast, with a memory that goes on learning."
)


class Options(TradedBarOptions, frozen=True, kw_only=True):
    """What is judged: bars, or the generated markets ``market`` of ``seeds`` and ``market_bars``; and how closely.

    Each ``every``-th bar is scored. ``trials`` were made elsewhere on these bars. ``out`` is the folder to write.
    """

    market: Literal["few", "hard", "none", "base"] | None = None
    seeds: str | None = None
    market_bars: int | None = None
    every: int | None = None
    quantile_trees: bool = False
    odds: bool = False
    trials: int = 0
    quick: bool = False
    out: str = "build/evaluation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bars or markets to judge by, what to compare with, and where the report goes."""
    add_files(parser)
    parser.add_argument(
        "--market", choices=("few", "hard", "none", "base"), help="generated markets, whose truth is known"
    )
    add_history(parser)
    parser.add_argument("--seeds", metavar="A-B", help="with --market: which ones (default: 11-18)")
    parser.add_argument(
        "--market-bars", type=at_least(2_000), metavar="N", help="with --market: how long (default: 90000)"
    )
    parser.add_argument(
        "--every", type=count, metavar="N", help="score each N-th bar (default: some 12,000 in all)"
    )
    parser.add_argument(
        "--quantile-trees", action="store_true", help="also LightGBM's quantiles: several minutes more"
    )
    parser.add_argument(
        "--odds", action="store_true", help="also head and memory of the odds: about a minute more a fold"
    )
    parser.add_argument(
        "--trials",
        type=count_or_zero,
        metavar="N",
        help="configurations tried on these bars elsewhere, on top of those counted in the database",
    )
    parser.add_argument("--quick", action="store_true", help="a rough look in a fraction of the time")
    parser.add_argument("--out", type=path, metavar="DIR", help="folder to write (default: build/evaluation)")


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Evaluate, write the report's files, and say where they are."""
    from bot.commands import evaluation

    return asyncio.run(evaluation.run(options, config, strategies))
