"""A decision as stored: why it was made, and what came of it; reads only."""

from decimal import Decimal

from msgspec import Struct
from msgspec.structs import asdict

from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.performance.decisions import DecisionOutcome, outcome_of
from bot.store.account.funnel import read_check_labels
from bot.store.account.tables import (
    FILLS,
    HALTS,
    NEIGHBORS,
    ORDERS,
    PAUSES,
    SIGNALS,
    StoredNeighbor,
    StoredSignal,
)
from bot.store.database import Database
from bot.store.rows import decimal_of, read
from bot.trading.events import Fill, Halt, Order, Pause


class RecalledMoment(StoredNeighbor, frozen=True, kw_only=True):
    """A neighbor as stored, with its closes from the moment to its horizon (empty if not stored)."""

    closes: tuple[Decimal, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    """Why one decision was made and what came of it. ``close`` is None if the bar is not stored.

    ``halt`` is the one that was in force at its close, or began there; ``pauses`` those of its symbol
    then. ``outcome`` is what came of what it
    asked for, None where it asked for nothing. ``check_labels`` are what the strategy calls its checks.
    """

    signal: StoredSignal
    close: Decimal | None
    neighbors: tuple[RecalledMoment, ...]
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    halt: Halt | None
    pauses: tuple[Pause, ...]
    outcome: DecisionOutcome | None
    check_labels: dict[str, str]


async def load_explanation(database: Database, signal_id: int | None = None) -> Explanation:
    """One decision, or the last, with all that led to it and followed. InputError if there is none."""
    async with database.transaction():
        signal = await _signal(database, signal_id)
        orders = await read(database, ORDERS, "WHERE signal_id = ? ORDER BY id", (signal.id,))
        return Explanation(
            signal=signal,
            close=await _close(database, signal),
            neighbors=await _neighbors(database, signal),
            orders=orders,
            fills=await read(
                database,
                FILLS,
                "WHERE order_id IN (SELECT id FROM orders WHERE signal_id = ?) ORDER BY id",
                (signal.id,),
            ),
            halt=await _halt_at(database, signal.decided_ms),
            pauses=await read(
                database,
                PAUSES,
                "WHERE time_ms <= ?1 AND coalesce(resumed_ms > ?1, 1) "
                "AND coalesce(symbol = ?2, 1) ORDER BY id",
                (signal.decided_ms, signal.symbol),
            ),
            outcome=None if signal.asked is None else outcome_of(signal.asked, signal.no_order, orders),
            check_labels=await read_check_labels(database, signal.session_id),
        )


async def _signal(database: Database, signal_id: int | None) -> StoredSignal:
    if signal_id is None:
        found = await read(database, SIGNALS, "ORDER BY id DESC LIMIT 1")
    else:
        found = await read(database, SIGNALS, "WHERE id = ?", (signal_id,))
    if not found:
        last = await database.value("SELECT max(id) FROM signals")
        if last is None:
            raise InputError(f"{database.path} holds no decision yet; let the bot run until a bar closes")
        raise InputError(f"{database.path} holds no decision {signal_id}; the last is {last}")
    return found[0]


async def _halt_at(database: Database, time_ms: int) -> Halt | None:
    found = await read(
        database,
        HALTS,
        "WHERE time_ms <= ?1 AND coalesce(resumed_ms > ?1, 1) ORDER BY id DESC LIMIT 1",
        (time_ms,),
    )
    return found[0] if found else None


async def _close(database: Database, signal: StoredSignal) -> Decimal | None:
    text = await database.value(
        "SELECT close FROM bars WHERE symbol = ? AND interval = ? AND start_ms = ?",
        (signal.symbol, signal.interval, signal.bar_start_ms),
    )
    return None if text is None else decimal_of(database, text, "bars.close")


async def _neighbors(database: Database, signal: StoredSignal) -> tuple[RecalledMoment, ...]:
    span_ms = (signal.horizon_bars or 0) * INTERVAL_MS[signal.interval]
    moments = []
    for stored in await read(database, NEIGHBORS, "WHERE signal_id = ? ORDER BY rank", (signal.id,)):
        closes = await database.fetch(
            "SELECT close FROM bars WHERE symbol = ? AND interval = ? AND start_ms BETWEEN ? AND ? "
            "ORDER BY start_ms",
            (stored.symbol, signal.interval, stored.bar_start_ms, stored.bar_start_ms + span_ms),
        )
        followed = tuple(decimal_of(database, close, "bars.close") for (close,) in closes)
        moments.append(RecalledMoment(**asdict(stored), closes=followed))
    return tuple(moments)
