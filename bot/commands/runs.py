"""``runs``: the catalogue of backtests: listed, compared, deleted."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("runs --compare first second",)


class Options(CommonOptions, frozen=True, kw_only=True):
    """Names of runs to show side by side, or of one to delete; without any, all are listed."""

    compare: tuple[str, ...] | None = None
    delete: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the catalogue."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compare", nargs="+", metavar="NAME", help="two or more runs side by side")
    what.add_argument(
        "--delete", metavar="NAME", help="a run's database and its row; that it was tried stays counted"
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """List, compare or delete the runs of ``run.runs``."""
    from bot.store.believed import readable
    from bot.store.runs.catalogue import INDEX_NAME

    with readable(config.runs_path / INDEX_NAME):
        return asyncio.run(_run(options, config.runs_path))


async def _run(options: Options, folder: Path) -> int:
    from bot.commands.catalogue import delete, known_runs, named
    from bot.terminal.runs import print_comparison, print_runs

    if options.delete is not None:
        await delete(folder, options.delete)
        print(f"deleted run {options.delete}")
        return 0
    runs = await known_runs(folder)
    if options.compare is not None:
        runs = named(runs, options.compare, folder)
    if options.json:
        listed = {"version": 1, "folder": str(folder), "runs": runs}
        print(msgspec.json.encode(listed).decode())
    elif options.compare is not None:
        print_comparison(runs)
    else:
        print_runs(runs, folder)
    return 0
