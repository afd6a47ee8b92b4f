"""The trade log: each fill, with the decision behind it; reads only."""

from bot.store.account.tables import (
    TRADE_LOG,
    Trade,
)
from bot.store.database import Database
from bot.store.rows import read


async def load_trades(database: Database, *, limit: int | None = None) -> tuple[Trade, ...]:
    """The trade log, oldest first; ``limit`` keeps that many of the newest."""
    newest = "ORDER BY fill_id DESC LIMIT ?"
    return (await read(database, TRADE_LOG, newest, (-1 if limit is None else limit,)))[::-1]
