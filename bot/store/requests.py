"""What a person asks of the bot through its database: written beside the running process, read by it."""

from decimal import Decimal
from typing import Literal

from bot.exact import EXACT
from bot.market import plain
from bot.store.database import Database
from bot.store.queries import read_risk
from bot.trading.events import Resume, Transfer

Kind = Literal["resume", "transfer"]


async def ask_to_resume(database: Database, made_ms: int, note: str) -> int:
    """Ask for the halt in force to end; the request's number. One that was not taken yet is enough."""
    async with database.transaction():
        waiting = await _after(database, "resume", (await read_risk(database)).last_resume_id)
        return waiting[-1][0] if waiting else await _ask(database, "resume", made_ms, Decimal(0), note)


async def ask_to_transfer(database: Database, made_ms: int, amount: Decimal, note: str) -> int:
    """Ask for a deposit (positive) or a withdrawal; the request's number, which becomes the transfer's."""
    async with database.transaction():
        return await _ask(database, "transfer", made_ms, amount, note)


async def requested_transfers(database: Database, last_transfer_id: int) -> Decimal:
    """What the transfers after this number come to, which were asked for and not booked yet."""
    total = Decimal(0)
    for _, amount, _ in await _after(database, "transfer", last_transfer_id):
        total = EXACT.add(total, Decimal(amount))
    return total


class Inbox:
    """What a session has still to take. ``now_ms`` is when it enters the core: the exchange's time."""

    def __init__(self, database: Database, *, last_resume_id: int, last_transfer_id: int) -> None:
        self._database = database
        self._last_resume_id = last_resume_id
        self._last_transfer_id = last_transfer_id

    async def take(self, now_ms: int) -> list[Resume | Transfer]:
        """What was asked for since this was last asked, as inputs of the core; each once."""
        taken: list[Resume | Transfer] = []
        for number, _, note in await _after(self._database, "resume", self._last_resume_id):
            self._last_resume_id = number
            taken.append(Resume(id=number, time_ms=now_ms, note=note))
        for number, amount, note in await _after(self._database, "transfer", self._last_transfer_id):
            self._last_transfer_id = number
            taken.append(Transfer(id=number, time_ms=now_ms, amount=Decimal(amount), reason=note))
        return taken


async def _ask(database: Database, kind: Kind, made_ms: int, amount: Decimal, note: str) -> int:
    await database.write(
        "INSERT INTO requests (made_ms, kind, amount, note) VALUES (?, ?, ?, ?)",
        [(made_ms, kind, plain(amount), note)],
    )
    number: int = await database.value("SELECT max(id) FROM requests")
    return number


async def _after(database: Database, kind: Kind, last_id: int) -> list[tuple[int, str, str]]:
    rows = await database.fetch(
        "SELECT id, amount, note FROM requests WHERE kind = ? AND id > ? ORDER BY id", (kind, last_id)
    )
    return [(number, amount, note) for number, amount, note in rows]
