"""Orders and trading rules as rows."""

from typing import Any

import msgspec

from bot.market import Instrument, plain
from bot.trading.events import Order

Row = tuple[Any, ...]

ORDER = """
INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    quantity = excluded.quantity, limit_price = excluded.limit_price, stop_price = excluded.stop_price,
    reduce_only = excluded.reduce_only, status = excluded.status, reason = excluded.reason,
    updated_ms = excluded.updated_ms, due_ms = excluded.due_ms, distance = excluded.distance,
    anchor = excluded.anchor, filled_quantity = excluded.filled_quantity,
    active_ms = excluded.active_ms, triggered_ms = excluded.triggered_ms
"""
INSTRUMENT = "INSERT OR REPLACE INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_encode = msgspec.json.Encoder(decimal_format="string").encode


def order_row(order: Order, session_id: int) -> Row:
    """A row of ``orders``."""
    return (
        order.id,
        session_id,
        order.signal_id,
        order.symbol,
        order.side,
        order.type,
        plain(order.quantity),
        None if order.limit_price is None else plain(order.limit_price),
        None if order.stop_price is None else plain(order.stop_price),
        order.reduce_only,
        order.status,
        order.reason,
        order.created_ms,
        order.updated_ms,
        order.due_ms,
        order.time_in_force,
        None if order.distance is None else plain(order.distance),
        None if order.anchor is None else plain(order.anchor),
        order.parent_id,
        plain(order.filled_quantity),
        order.active_ms,
        order.triggered_ms,
    )


def instrument_row(rules: Instrument) -> Row:
    """A row of ``instruments``."""
    return (
        rules.symbol,
        rules.category,
        plain(rules.tick_size),
        plain(rules.lot_size),
        plain(rules.min_quantity),
        plain(rules.min_notional),
        None if rules.max_market_quantity is None else plain(rules.max_market_quantity),
        rules.funding_interval_minutes,
        plain(rules.max_leverage),
        _encode(rules.tiers).decode(),
        rules.source,
        rules.known_ms,
        rules.status,
        rules.delivery_ms,
        rules.base_coin,
        rules.quote_coin,
    )
