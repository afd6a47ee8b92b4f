"""What a replay's account began with: the sessions before it are not there to be summed up."""

import msgspec
from msgspec import Struct

from bot.store.database import Database
from bot.store.rows import json_of
from bot.trading.account import TrackState
from bot.trading.ledger import LedgerState

_encode = msgspec.json.Encoder(decimal_format="string").encode


class BooksAtStart(Struct, frozen=True, kw_only=True):
    """The books that a replay begins with, and the account's track."""

    ledger: LedgerState
    track: TrackState


async def save_opening(database: Database, books: BooksAtStart) -> None:
    """Write down what a replay's books begin with."""
    async with database.transaction():
        row = tuple(_encode(part).decode() for part in (books.ledger, books.track))
        await database.write("INSERT INTO opening VALUES (1, ?, ?)", [row])


async def read_opening(database: Database) -> BooksAtStart | None:
    """What the books began with; None where that was cash alone."""
    rows = await database.fetch("SELECT ledger_json, track_json FROM opening")
    if not rows:
        return None
    ledger, track = rows[0]
    return BooksAtStart(
        ledger=json_of(database, ledger, LedgerState, "opening.ledger_json"),
        track=json_of(database, track, TrackState, "opening.track_json"),
    )
