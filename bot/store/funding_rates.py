"""The settled rates that a backtest is charged by, kept in its own database so that it can be made again."""

from collections.abc import Iterable

from bot.market import FundingRate, plain
from bot.store.database import Database
from bot.store.rows import struct_of


async def save_funding_rates(database: Database, rates: Iterable[FundingRate]) -> None:
    """Keep the settled rates that a run is charged by."""
    async with database.transaction():
        await database.write(
            "INSERT OR REPLACE INTO funding_rates VALUES (?, ?, ?)",
            [(each.symbol, each.time_ms, plain(each.rate)) for each in rates],
        )


async def load_funding_rates(database: Database) -> list[FundingRate]:
    """The settled rates that a run was charged by, by time and symbol."""
    rows = await database.fetch("SELECT symbol, time_ms, rate FROM funding_rates ORDER BY time_ms, symbol")
    names = ("symbol", "time_ms", "rate")
    return [
        struct_of(database, FundingRate, dict(zip(names, row, strict=True)), "funding_rates") for row in rows
    ]
