"""What the fourth schema says of an account, for rows that were written before it."""

from bot.market import plain
from bot.store.account.state import load_instruments, read_account
from bot.store.account.tables import ACCOUNT_STATE, EQUITY, FILLS, FUNDING, ROUND_TRIPS, TRANSFERS
from bot.store.account.track import Fold, track_row, trip_row
from bot.store.database import Database
from bot.store.rows import read


async def backfill(database: Database) -> None:
    """Give older rows their session, their place and their unit values, as truthfully as they allow.

    Inside the migration's transaction. Each fill, payment and transfer moved cash by so much at its time, and has
    a row of equity that says so; the rows left over are those of closed bars.
    """
    await _place(database)
    # The last row at or before a resume: it stands in no other relation to the rows.
    await database.write(
        "UPDATE halts SET resumed_equity_id = (SELECT coalesce(max(id), 0) FROM equity "
        "WHERE time_ms <= resumed_ms) WHERE resumed_ms IS NOT NULL",
        [()],
    )
    fold = Fold(database)
    rows = [row async for row in fold.rows()]
    await database.write(
        "UPDATE equity SET unit_value = ? WHERE id = ?", [(plain(row.unit_value), row.id) for row in rows]
    )
    changes = [trip_row(trip, row.session_id) for row in rows for trip in row.trips]
    await database.write(ROUND_TRIPS.upsert, changes)
    if rows:
        await database.write(ACCOUNT_STATE.replace, [track_row(fold.state)])
    await database.write(
        """UPDATE sessions SET (start_equity, start_unit_value) = (
            SELECT equity, unit_value FROM equity WHERE session_id < sessions.id ORDER BY id DESC LIMIT 1
        ) WHERE EXISTS (SELECT 1 FROM equity WHERE session_id < sessions.id)""",
        [()],
    )
    cash = plain(database.identity.starting_cash)
    await database.write("UPDATE sessions SET start_equity = ? WHERE start_equity = ''", [(cash,)])
    # What cannot be gone on from stays as it was.
    await read_account(database)
    await load_instruments(database)


async def _place(database: Database) -> None:
    """Find the row of equity that belongs to each fill, payment and transfer."""
    fills = list(await read(database, FILLS, "ORDER BY id DESC"))
    payments = list(await read(database, FUNDING, "ORDER BY time_ms, symbol"))
    transfers = list(await read(database, TRANSFERS, "ORDER BY id DESC"))
    ids = await database.fetch("SELECT id, session_id FROM equity ORDER BY id")
    cash = database.identity.starting_cash
    placed: dict[str, list[tuple[object, ...]]] = {"fills": [], "funding": [], "transfers": []}
    rows = await read(database, EQUITY, "ORDER BY id")
    for (id, session_id), row in zip(ids, rows, strict=True):
        moved, cash = row.cash - cash, row.cash
        paid = next((p for p in payments if p.time_ms == row.time_ms and p.payment == moved), None)
        if fills and fills[-1].time_ms == row.time_ms and fills[-1].realized_pnl - fills[-1].fee == moved:
            placed["fills"].append((session_id, id, fills.pop().id))
        elif moved and paid is not None:
            payments.remove(paid)
            placed["funding"].append((session_id, id, paid.symbol, paid.time_ms))
        elif moved and transfers and transfers[-1].amount == moved:
            placed["transfers"].append((session_id, id, transfers.pop().id))
    for table, found in placed.items():
        key = "(symbol, time_ms) = (?, ?)" if table == "funding" else "id = ?"
        await database.write(f"UPDATE {table} SET session_id = ?, equity_id = ? WHERE {key}", found)
