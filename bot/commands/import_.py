"""``import``: bars from CSV files into the history store."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from bot.commands.arguments import path
from bot.commands.options import HistoryOptions, add_history, category_of_files
from bot.errors import InputError

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
    if options.mode is not None:
        raise InputError(
            f"import --{options.mode}: bars go to the history store, which belongs to no account; leave the mode out"
        )
    if options.symbol is not None and len(options.files) > 1:
        raise InputError(
            "--symbol names a single file's bars; let the names of several tell, or import them singly"
        )
    return asyncio.run(_run(options, config))


async def _run(options: Options, config: "Config") -> int:
    from bot.commands.history_store import history_path, opened
    from bot.sessions.import_bars import import_bars
    from bot.terminal.history import imported_text
    from bot.terminal.progress import Progress

    with Progress() as progress:
        imported = await import_bars(
            options.files,
            config,
            opened(history_path(options, config), config, create=True),
            symbol=options.symbol,
            interval=options.interval,
            venue=options.venue,
            progress=progress,
        )
    if options.json:
        print(msgspec.json.encode(imported).decode())
    else:
        for each in imported:
            print(imported_text(each))
    return 0
