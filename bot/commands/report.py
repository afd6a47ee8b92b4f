"""``report``: performance, costs and calibration, compared with buy and hold."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from bot.commands.arguments import count, fills_name
from bot.commands.options import DatabaseOptions, add_run
from bot.errors import InputError

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("report --mainnet --all",)


class Options(DatabaseOptions, frozen=True, kw_only=True):
    """The session's id (None: the last), or ``all`` of them; ``fills`` scores the recording under each preset."""

    session: int | None = None
    all: bool = False
    fills: Literal["all"] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is reported on."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--session", type=count, metavar="N", help="this session (default: the last)")
    which.add_argument("--all", action="store_true", help="the whole account, over all its sessions")
    parser.add_argument(
        "--fills",
        type=fills_name,
        choices=("all",),
        help="also score the session's recording under each preset of fills",
    )
    add_run(parser)


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print the report: of the last session, one session or the whole account."""
    return asyncio.run(_run(options, config, strategies))


async def _run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Reads only, as of one commit, in memory that does not grow with the bars."""
    from bot.commands.chosen_database import reading
    from bot.reports.account import load_report
    from bot.sessions.assembly import found_recording, read_recording
    from bot.sessions.fill_scenarios import Scenarios, of_recording
    from bot.store.account.period import load_period
    from bot.store.runs.catalogue import INDEX_NAME
    from bot.terminal.fill_scenarios import as_json, print_scenarios
    from bot.terminal.progress import Progress
    from bot.terminal.report import print_report

    session, whole, index = options.session, options.all, config.runs_path / INDEX_NAME
    async with reading(options, config) as database:
        async with database.transaction():
            found = await load_report(database, session, whole=whole, index=index)
            recorded = (await load_period(database, session, whole=whole)).sessions[-1].recording
        scenarios: Scenarios = {}
        if options.fills is not None:
            if whole or recorded is None:
                raise InputError(
                    "--fills all scores one session from its recording; name a recorded one with --session"
                )
            recording = read_recording(found_recording(recorded, database.path), config, strategies)
            with Progress() as progress:
                scenarios = await of_recording(recording, progress)
        if options.json:
            print(as_json(found, scenarios) if scenarios else msgspec.json.encode(found).decode())
        else:
            print_report(found)
            if scenarios:
                print_scenarios(scenarios)
    return 0
