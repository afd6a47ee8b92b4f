"""``trades``: the trade log."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("trades --json | jq .[0]",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """Which database."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A backtest's name."""
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the log, oldest fill first."""
    return asyncio.run(_run(options, config))


async def _run(options: Options, config: "Config") -> int:
    from bot.commands.chosen_database import database_line, reading
    from bot.store.account.funnel import load_decision_report
    from bot.store.account.trade_log import load_trades
    from bot.terminal.tables import print_text
    from bot.terminal.trades import print_trades

    async with reading(options, config) as database:
        log = await load_trades(database)
        report = None if log else await load_decision_report(database, None)
        if options.json:
            print(msgspec.json.encode(log).decode())
        else:
            print_text(await database_line(database))
            print_trades(log, report)
    return 0
