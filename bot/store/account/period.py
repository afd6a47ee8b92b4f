"""What one session, or the whole account, came to: figures of the rows that belong to it."""

from msgspec.structs import replace

from bot.store.account.tables import FILLS, FUNDING, ROUND_TRIPS
from bot.store.database import Database
from bot.store.rows import decimal_of, read
from bot.trading.events import RoundTrip
from bot.trading.performance import EquityCurve, Performance, performance_of


async def period_performance(database: Database, curve: EquityCurve, session_id: int | None) -> Performance:
    """The performance over a curve of one session's equity, or of all. Inside the caller's transaction."""
    of_session = "WHERE ?1 IS NULL OR session_id = ?1"
    moved = await database.fetch(f"SELECT amount FROM transfers {of_session}", (session_id,))
    return performance_of(
        curve,
        await read(database, FILLS, f"{of_session} ORDER BY id", (session_id,)),
        await read(database, FUNDING, of_session, (session_id,)),
        await _trips(database, session_id),
        float(sum(decimal_of(database, amount, "transfers.amount") for (amount,) in moved)),
    )


async def _trips(database: Database, session_id: int | None) -> tuple[RoundTrip, ...]:
    """The round trips that ended in the session, and those that were open at its end."""
    if session_id is None:
        return await read(database, ROUND_TRIPS, "ORDER BY id")
    ended = await read(database, ROUND_TRIPS, "WHERE closed_session_id = ?", (session_id,))
    later = await read(
        database,
        ROUND_TRIPS,
        "WHERE session_id <= ?1 AND coalesce(closed_session_id > ?1, 1)",
        (session_id,),
    )
    return (*ended, *(replace(trip, closed_ms=None) for trip in later))
