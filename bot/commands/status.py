"""``status``: what the running or last session is doing, and how sound its data are."""

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.commands.options import DatabaseOptions, add_run

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("status --demo",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """Which database."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A backtest's name."""
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the status as of now."""
    return asyncio.run(_run(options, config))


async def _run(options: Options, config: "Config") -> int:
    from bot.commands.chosen_database import reading
    from bot.commands.stored_calendar import stored_calendar
    from bot.store.account.status import load_status
    from bot.terminal.status import print_status

    async with reading(options, config) as database:
        found = await load_status(database, await stored_calendar(database))
        if options.json:
            print(msgspec.json.encode(found).decode())
        else:
            print_status(found, time.time_ns() // 1_000_000)
    return 0
