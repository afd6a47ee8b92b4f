"""What a replay's account began with: the sessions before it are not there to be summed up."""

import msgspec

from bot.store.database import Database
from bot.store.rows import json_of
from bot.trading.ledger import LedgerState

_encode = msgspec.json.Encoder(decimal_format="string").encode


async def save_opening(database: Database, ledger: LedgerState) -> None:
    """Write down what a replay's books begin with."""
    async with database.transaction():
        await database.write("INSERT INTO opening VALUES (1, ?)", [(_encode(ledger).decode(),)])


async def read_opening(database: Database) -> LedgerState | None:
    """What the books began with; None where that was cash alone."""
    text = await database.value("SELECT ledger_json FROM opening")
    return None if text is None else json_of(database, text, LedgerState, "opening.ledger_json")
