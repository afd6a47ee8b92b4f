"""A decision as stored: why it was made, and what came of it; reads only."""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.performance.decisions import DecisionOutcome, outcome_of
from bot.store.database import Database
from bot.store.funnel import read_check_labels
from bot.store.rows import decimal_of, json_of, struct_of, structs
from bot.trading.asked import Asked
from bot.trading.checks import Check
from bot.trading.events import Action, Fill, Halt, Order, Pause


class StoredSignal(Struct, frozen=True, kw_only=True):
    """One row of ``signals``; ``detail`` is what its ``detail_json`` holds."""

    id: int
    session_id: int
    symbol: str
    interval: str
    bar_start_ms: int
    action: Action
    confidence: float
    expected_return: float | None
    return_std: float | None
    positive_ratio: float | None
    regime: str | None
    horizon_bars: int | None
    reason: str
    late: bool
    decided_ms: int
    detail: dict[str, Any]
    asked: Asked | None
    no_order: str
    checks: tuple[Check, ...]


class RecalledMoment(Struct, frozen=True, kw_only=True):
    """A neighbor as stored, with its closes from the moment to its horizon (empty if not stored)."""

    rank: int
    symbol: str
    bar_start_ms: int
    similarity: float
    weight: float
    forward_return: float
    regime: str
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
        orders = await structs(database, Order, "FROM orders WHERE signal_id = ? ORDER BY id", (signal.id,))
        return Explanation(
            signal=signal,
            close=await _close(database, signal),
            neighbors=await _neighbors(database, signal),
            orders=orders,
            fills=await structs(
                database,
                Fill,
                "FROM fills WHERE order_id IN (SELECT id FROM orders WHERE signal_id = ?) ORDER BY id",
                (signal.id,),
            ),
            halt=await _halt_at(database, signal.decided_ms),
            pauses=await structs(
                database,
                Pause,
                "FROM pauses WHERE time_ms <= ?1 AND coalesce(resumed_ms > ?1, 1) "
                "AND coalesce(symbol = ?2, 1) ORDER BY id",
                (signal.decided_ms, signal.symbol),
            ),
            outcome=None if signal.asked is None else outcome_of(signal.asked, signal.no_order, orders),
            check_labels=await read_check_labels(database, signal.session_id),
        )


async def _signal(database: Database, signal_id: int | None) -> StoredSignal:
    columns = (
        "id, session_id, symbol, interval, bar_start_ms, action, confidence, expected_return, return_std, "
        "positive_ratio, regime, horizon_bars, reason, late, decided_ms, asked, no_order, checks_json, detail_json"
    )
    if signal_id is None:
        rows = await database.fetch(f"SELECT {columns} FROM signals ORDER BY id DESC LIMIT 1")
    else:
        rows = await database.fetch(f"SELECT {columns} FROM signals WHERE id = ?", (signal_id,))
    if not rows:
        last = await database.value("SELECT max(id) FROM signals")
        if last is None:
            raise InputError(f"{database.path} holds no decision yet; let the bot run until a bar closes")
        raise InputError(f"{database.path} holds no decision {signal_id}; the last is {last}")
    *values, checks_json, detail_json = rows[0]
    fields = dict(zip(columns.split(", ")[:-2], values, strict=True))
    fields["checks"] = json_of(database, checks_json, list[Any], "signals.checks_json")
    fields["detail"] = json_of(database, detail_json, dict[str, Any], "signals.detail_json")
    return struct_of(database, StoredSignal, fields, "signals")


async def _halt_at(database: Database, time_ms: int) -> Halt | None:
    found = await structs(
        database,
        Halt,
        "FROM halts WHERE time_ms <= ?1 AND coalesce(resumed_ms > ?1, 1) ORDER BY id DESC LIMIT 1",
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
    rows = await database.fetch(
        "SELECT rank, symbol, bar_start_ms, similarity, weight, forward_return, regime "
        "FROM neighbors WHERE signal_id = ? ORDER BY rank",
        (signal.id,),
    )
    span_ms = (signal.horizon_bars or 0) * INTERVAL_MS[signal.interval]
    moments = []
    for rank, symbol, start_ms, similarity, weight, forward_return, regime in rows:
        closes = await database.fetch(
            "SELECT close FROM bars WHERE symbol = ? AND interval = ? AND start_ms BETWEEN ? AND ? "
            "ORDER BY start_ms",
            (symbol, signal.interval, start_ms, start_ms + span_ms),
        )
        moments.append(
            struct_of(
                database,
                RecalledMoment,
                {
                    "rank": rank,
                    "symbol": symbol,
                    "bar_start_ms": start_ms,
                    "similarity": similarity,
                    "weight": weight,
                    "forward_return": forward_return,
                    "regime": regime,
                    "closes": [close for (close,) in closes],
                },
                f"neighbors of signal {signal.id}",
            )
        )
    return tuple(moments)
