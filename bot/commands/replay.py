"""``replay``: a recorded session once more, with no network; and whether a database tells the same."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.commands.arguments import path
from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("replay var/recordings/20240131T120000Z-1.rec.zst --verify var/demo.db",)
ABOUT = "Writes a database of its own (default: var/replay.db), in place of the last replay's."


class Options(CommonOptions, frozen=True, kw_only=True):
    """The recording's file, and the database to compare its session with."""

    recording: str
    verify: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recording, and what to compare it with."""
    parser.add_argument(
        "recording", type=path, metavar="RECORDING", help="a session's file of run.recordings"
    )
    parser.add_argument(
        "--verify",
        type=path,
        metavar="DB",
        help="compare with the recorded session in DB; exit code 1 if they differ",
    )


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Replay, print the summary; 1 where ``--verify`` finds a difference."""
    from bot.commands import replay_session

    return asyncio.run(replay_session.run(options, config, strategies))
