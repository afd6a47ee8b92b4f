"""``import``: bars from CSV files into the history store."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bot.commands.arguments import path
from bot.commands.options import HistoryOptions, add_history, category_of_files

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("import BTCUSDT_binance-perp_1h.csv.gz",)


class Options(HistoryOptions, frozen=True, kw_only=True):
    """The files, and the symbol of a single one."""

    files: tuple[str, ...]
    symbol: str | None = None

    def named_category(self) -> Literal["equity"] | None:
        return category_of_files(self.files)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and where their bars go."""
    parser.add_argument("files", nargs="+", type=path, metavar="FILE")
    parser.add_argument("--symbol", metavar="S", help="symbol of a single file")
    add_history(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Store the bars of all files or, where any row of any file is wrong, of none."""
    from bot.commands import import_bars

    return asyncio.run(import_bars.run(options, config))
