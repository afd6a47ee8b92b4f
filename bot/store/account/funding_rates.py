"""The settled rates that a backtest is charged by, kept in its own database so that it can be made again."""

from collections.abc import Iterable

from bot.market import FundingRate
from bot.store.account.tables import FUNDING_RATES
from bot.store.database import Database
from bot.store.rows import read


async def save_funding_rates(database: Database, rates: Iterable[FundingRate]) -> None:
    """Keep the settled rates that a run is charged by."""
    async with database.transaction():
        await database.write(FUNDING_RATES.replace, [FUNDING_RATES.row(each) for each in rates])


async def load_funding_rates(database: Database) -> list[FundingRate]:
    """The settled rates that a run was charged by, by time and symbol."""
    return list(await read(database, FUNDING_RATES, "ORDER BY time_ms, symbol"))
