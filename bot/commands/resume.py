"""``resume``: a person lets the bot go on after a halt, whether it runs or not."""

import argparse
import asyncio
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from bot.commands.inspect import database_path
from bot.config import Config
from bot.errors import InputError
from bot.market import utc_text
from bot.store.database import Database, Holder, holder
from bot.store.queries import read_risk
from bot.store.requests import ask_to_resume
from bot.trading.events import Halt

OK = 0

_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of the request. ``halt`` is the one that was in force, None where there was none.

    ``resumed`` says whether the bot has taken it already; a bot that does not run takes it as it starts.
    """

    database: str
    halt: Halt | None
    running: Holder | None
    resumed: bool


async def run(args: argparse.Namespace, config: Config) -> int:
    """Ask the bot of the database that the arguments mean to go on."""
    outcome = await resume(database_path(args, config), args.note)
    print(msgspec.json.encode(outcome).decode() if args.json else _told(outcome))
    return OK


async def resume(db_path: Path | str, note: str = "") -> Outcome:
    """Ask for the halt in force to end, and wait a moment for a running bot to take it.

    Raises InputError for a database without an account that goes on.
    """
    async with Database.beside(db_path) as database:
        live_only(database)
        halt = (await read_risk(database)).halt
        running = holder(db_path)
        resumed = False
        if halt is not None:
            number = await ask_to_resume(database, time.time_ns() // 1_000_000, note)
            until = time.monotonic() + _PATIENCE_SECONDS
            while running is not None and not resumed and time.monotonic() < until:
                await asyncio.sleep(_LOOK_SECONDS)
                resumed = (await read_risk(database)).last_resume_id >= number
    return Outcome(database=str(db_path), halt=halt, running=running, resumed=resumed)


def live_only(database: Database) -> None:
    """InputError for a database whose account does not go on."""
    mode = database.identity.mode
    if mode in ("backtest", "replay"):
        raise InputError(
            f"{database.path} holds a {mode}, which does not go on; name a live session's with --db"
        )


def _told(outcome: Outcome) -> str:
    halt = outcome.halt
    if halt is None:
        return f"{outcome.database}: no halt is in force, so there is nothing to resume"
    halted = f"halted {utc_text(halt.time_ms)} UTC by {halt.rule}: {halt.reason}"
    if outcome.resumed:
        return f"resumed ({halted})"
    if outcome.running is not None:
        return f"asked {outcome.running} to resume; it has not answered yet ({halted})"
    return f"the next start resumes ({halted})"
