"""``export``: any table as CSV, or as JSON lines, row by row."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.arguments import path
from bot.commands.options import DatabaseOptions, add_run
from bot.store.account.exported import TABLES

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("export trade_log --out trades.csv",)
ABOUT = f"Tables: {', '.join(TABLES)}."


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """The table, and the file to write; None: standard output."""

    table: str
    out: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table, and where it goes."""
    parser.add_argument("table", metavar="TABLE", help="one of those above")
    add_run(parser)
    parser.add_argument("--out", type=path, metavar="FILE", help="write here (default: standard output)")


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Write the whole table."""
    from bot.commands import export_table

    return asyncio.run(export_table.run(options, config))
