"""How far all decisions came, counted from the rows alone, and what a halt kept back; reads only."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from bot.exact import EXACT, ZERO
from bot.performance.decisions import DecisionOutcome, outcome_of
from bot.performance.funnel import DecisionReport, FunnelCount, Funnels, HaltedRun
from bot.store.account.tables import HALTS, ORDERS
from bot.store.database import Database
from bot.store.rows import decimal_of, json_of, read, value_of
from bot.trading.asked import Asked
from bot.trading.events import Order


async def read_check_labels(database: Database, session_id: int | None) -> dict[str, str]:
    """What the strategy of one session, or the strategies of all, call their checks, in their order."""
    labels: dict[str, str] = {}
    for (text,) in await database.fetch(
        "SELECT checks_json FROM sessions WHERE ?1 IS NULL OR id = ?1 ORDER BY id", (session_id,)
    ):
        labels |= json_of(database, text, dict[str, str], "sessions.checks_json")
    return labels


async def load_decision_report(database: Database, session_id: int | None) -> DecisionReport:
    """How far the decisions of one session, or of all, came, as of one commit."""
    async with database.transaction():
        return await read_decision_report(database, session_id)


async def read_decision_report(database: Database, session_id: int | None) -> DecisionReport:
    """As :func:`load_decision_report`, inside the caller's transaction."""
    return DecisionReport(
        funnels=await read_funnels(database, session_id), halts=await _halts(database, session_id)
    )


async def read_funnels(database: Database, session_id: int | None) -> Funnels:
    """How far the decisions of one session, or of all, came. Inside the caller's transaction."""
    count = FunnelCount(await read_check_labels(database, session_id))
    # Of the row with the smallest id SQLite takes the other columns too. What was there already is said in the
    # same words at every bar for which it is held, so that there are few kinds of rows.
    for symbol, failed, late, asked, no_order, alike, first_id, reason in await database.fetch(
        "SELECT symbol, failed_check, late, asked, no_order, count(*), min(id), reason FROM signals "
        "WHERE ?1 IS NULL OR session_id = ?1 GROUP BY failed_check, late, asked, no_order, symbol "
        "ORDER BY symbol, failed_check, late, asked, min(id)",
        (session_id,),
    ):
        count.add_decisions(
            symbol, alike, failed=failed, late=bool(late), asked=asked, first=(first_id, reason)
        )
        if asked is not None and no_order:
            count.add_outcome(symbol, first_id, outcome_of(asked, no_order, ()), alike)
    async for signal_id, symbol, outcome in _stream_outcomes(database, session_id):
        count.add_outcome(symbol, signal_id, outcome)
    for symbol, trips in (await _round_trips(database, session_id)).items():
        count.add_round_trips(symbol, trips)
    return count.result()


async def _stream_outcomes(
    database: Database, session_id: int | None
) -> AsyncIterator[tuple[int, str, DecisionOutcome]]:
    """Number, symbol and outcome of each decision that orders followed, a few hundred in memory at a time."""
    columns = ", ".join(f"orders.{column.name}" for column in ORDERS.fields)
    decision: tuple[int, str, Asked] | None = None
    orders: list[Order] = []
    async for *known, order_id, values in _paired(database, columns, session_id):
        signal_id, symbol, asked = known
        if decision is not None and decision[0] != signal_id:
            yield decision[0], decision[1], outcome_of(decision[2], "", orders)
            orders = []
        decision = signal_id, symbol, asked
        if order_id is not None:
            orders.append(value_of(database, ORDERS, values))
    if decision is not None:
        yield decision[0], decision[1], outcome_of(decision[2], "", orders)


async def _paired(database: Database, columns: str, session_id: int | None) -> AsyncIterator[tuple[Any, ...]]:
    """Each decision that orders followed, beside each of them; once alone where none are known."""
    async for signal_id, symbol, asked, *values in database.stream(
        f"SELECT signals.id, signals.symbol, signals.asked, {columns} FROM signals "
        "LEFT JOIN orders ON orders.signal_id = signals.id WHERE asked IS NOT NULL AND no_order = '' "
        "AND (?1 IS NULL OR signals.session_id = ?1) ORDER BY signals.id, orders.id",
        (session_id,),
    ):
        yield signal_id, symbol, asked, values[0], values


async def _round_trips(database: Database, session_id: int | None) -> dict[str, int]:
    """How often a position was left again, by symbol: flat, or on its other side."""
    held: dict[str, Decimal] = {}
    trips: dict[str, int] = {}
    async for symbol, side, quantity, of_session in database.stream(
        "SELECT fills.symbol, fills.side, fills.quantity, ?1 IS NULL OR orders.session_id = ?1 FROM fills "
        "JOIN orders ON orders.id = fills.order_id ORDER BY fills.id",
        (session_id,),
    ):
        before = held.get(symbol, ZERO)
        filled = decimal_of(database, quantity, "fills.quantity")
        change = filled if side == "buy" else EXACT.minus(filled)
        after = held[symbol] = EXACT.add(before, change)
        if before and of_session and (not after or (after > 0) != (before > 0)):
            trips[symbol] = trips.get(symbol, 0) + 1
    return trips


async def _halts(database: Database, session_id: int | None) -> tuple[HaltedRun, ...]:
    """The halts that began in the session, and the one that it began under."""
    if not await database.value("SELECT EXISTS (SELECT 1 FROM halts)"):
        return ()
    found = []
    first, closes = (
        await database.fetch(
            "SELECT min(decided_ms), count(DISTINCT decided_ms) FROM signals WHERE ?1 IS NULL OR session_id = ?1",
            (session_id,),
        )
    )[0]
    for halt in await read(
        database,
        HALTS,
        "WHERE ?1 IS NULL OR session_id = ?1 "
        "OR (session_id < ?1 AND coalesce(resumed_ms >= ?2, 1)) ORDER BY id",
        (session_id, first),
    ):
        before, refused = (
            await database.fetch(
                "SELECT count(DISTINCT decided_ms) FILTER (WHERE decided_ms <= ?2), "
                "count(*) FILTER (WHERE decided_ms > ?2 AND coalesce(decided_ms <= ?3, 1) "
                "AND asked IN ('long', 'short')) FROM signals WHERE ?1 IS NULL OR session_id = ?1",
                (session_id, halt.time_ms, halt.resumed_ms),
            )
        )[0]
        found.append(HaltedRun(halt=halt, closes_before=before, closes=closes, refused=refused))
    return tuple(found)
