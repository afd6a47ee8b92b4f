"""``train``: an encoder and odds from stored bars or files, written as a checkpoint folder."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bot.commands.arguments import at_least, count, count_or_zero, path, share, when
from bot.commands.options import BarOptions, add_files, add_history

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = (
    "train --data BTCUSDT_binance-spot_1h.csv.gz --data ETHUSDT_binance-spot_1h.csv.gz --out var/checkpoint",
)
ABOUT = (
    "Without --data, from stored history of --symbols and --interval. It learns which windows of returns are two views "
    "of one shape, where outcomes do not enter, and then which states had the same odds. The last 15 % (odds: 10 %) of "
    "the time are kept for validation. Two runs of one seed give the same weights. On a GPU where there is one."
)


class Options(BarOptions, frozen=True, kw_only=True):
    """Bars from ``since`` on and before ``until`` (UTC milliseconds), the folder ``out``, and how to train.

    ``pairs`` of views make a step; ``simulated`` is the share of shapes that are not cut from bars. ``odds_only``
    names a checkpoint whose encoder stays as it is.
    """

    since: int | None = None
    until: int | None = None
    out: str = "var/checkpoint"
    steps: int = 6000
    pairs: int = 768
    seed: int = 1
    odds_steps: int = 400
    odds_only: str | None = None
    network: Literal["window", "transformer"] = "window"
    simulated: float = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bars to learn from, the folder to write, and how to train."""
    add_files(parser, traded=False)
    parser.add_argument("--from", dest="since", type=when, metavar="TIME", help="only bars from TIME on")
    parser.add_argument("--to", dest="until", type=when, metavar="TIME", help="only bars before TIME")
    parser.add_argument("--out", type=path, metavar="DIR", help="folder to write (default: var/checkpoint)")
    add_history(parser)
    parser.add_argument("--steps", type=count, metavar="N", help="at most (default: 6000)")
    parser.add_argument(
        "--pairs", type=at_least(2), metavar="N", help="of views, at each step (default: 768)"
    )
    parser.add_argument("--seed", type=count_or_zero, metavar="N", help="default: 1")
    parser.add_argument("--odds-steps", type=count, metavar="N", help="of the odds, after it (default: 400)")
    parser.add_argument(
        "--odds-only",
        type=path,
        metavar="DIR",
        help="new odds beside the encoder of this checkpoint, which stays as it is (--out may be the same)",
    )
    parser.add_argument(
        "--network",
        choices=("window", "transformer"),
        help="window: minutes on a CPU; transformer: what ships, better and for a GPU (default: window)",
    )
    parser.add_argument(
        "--simulated",
        type=share,
        metavar="SHARE",
        help="of the shapes, the others are cut from bars; 1 needs none (default: 0.5)",
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Train, write the folder, and say how it went."""
    from bot.commands import training

    return asyncio.run(training.run(options, config))
