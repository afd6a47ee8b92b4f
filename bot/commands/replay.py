"""``replay``: a recorded session once more, with no network; and whether a database tells the same."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.commands.arguments import path
from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EQUAL, DIFFERENT = 0, 1

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
    """Replay into a new database, print the summary; 1 where ``--verify`` finds a difference."""
    from bot import logs

    logs.configure(config.log)
    return asyncio.run(_run(options, config, strategies))


async def _run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    from bot.sessions import replay
    from bot.terminal.progress import Progress
    from bot.terminal.summary import print_summary
    from bot.terminal.verdict import verdict_text

    asked = replay.Options(
        recording=options.recording, database=config.database_path("replay"), verify=options.verify
    )
    with Progress() as progress:
        result = await replay.replay(asked, config, strategies, progress=progress)
    verdict = result.verdict
    if options.json:
        figures = msgspec.to_builtins(result.summary)
        if verdict is not None:
            figures["verify"] = verdict
        print(msgspec.json.encode(figures).decode())
    else:
        print_summary(result.summary, as_json=False)
        if verdict is not None:
            print(f"\n{verdict_text(verdict)}")
    return EQUAL if verdict is None or verdict.equal else DIFFERENT
