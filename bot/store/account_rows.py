"""The account's rows: what fills, funding, transfers, positions, equity and round trips look like on the disk."""

from typing import Any

import msgspec

from bot.exact import EXACT
from bot.market import Mark, plain
from bot.trading.account import ONE, TrackState
from bot.trading.events import Equity, Fill, FundingPayment, Position, RoundTrip, Transfer
from bot.trading.position import quotient

Row = tuple[Any, ...]

FILL = """
INSERT INTO fills (
    id, order_id, symbol, side, quantity, price, notional, fee, liquidity, realized_pnl, time_ms, rule,
    reference_price, late, reference_ms, slippage, preset, session_id, equity_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
FUNDING = """
INSERT INTO funding (
    symbol, time_ms, rate, mark_price, quantity, payment, mark_source, session_id, equity_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
TRANSFER = """
INSERT INTO transfers (id, time_ms, amount, reason, session_id, equity_id) VALUES (?, ?, ?, ?, ?, ?)
"""
POSITION = "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?)"
EQUITY = """
INSERT INTO equity (id, session_id, time_ms, cash, unrealized_pnl, equity, unit_value)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
# Who began or ended a trip is said once: late funding may come in a later session.
ROUND_TRIP = """
INSERT INTO round_trips (
    id, session_id, closed_session_id, symbol, side, signal_id, opened_ms, closed_ms, quantity, entry_price,
    entry_notional, exit_quantity, exit_price, exit_notional, realized_pnl, fees, funding, net, bars,
    adverse, favourable, exit_reason
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    closed_session_id = coalesce(closed_session_id, excluded.closed_session_id),
    closed_ms = excluded.closed_ms, quantity = excluded.quantity, entry_price = excluded.entry_price,
    entry_notional = excluded.entry_notional, exit_quantity = excluded.exit_quantity,
    exit_price = excluded.exit_price, exit_notional = excluded.exit_notional,
    realized_pnl = excluded.realized_pnl, fees = excluded.fees, funding = excluded.funding,
    net = excluded.net, bars = excluded.bars, adverse = excluded.adverse,
    favourable = excluded.favourable, exit_reason = excluded.exit_reason
"""
MARK = "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)"
ACCOUNT_STATE = "INSERT OR REPLACE INTO account_state VALUES (1, ?)"

_encode = msgspec.json.Encoder(decimal_format="string").encode


def account_state_row(state: TrackState) -> Row:
    """What the account's track goes on from, but for what other rows say: the last unit value, and the trips."""
    return (_encode(msgspec.structs.replace(state, value=ONE, trips=())).decode(),)


def fill_row(fill: Fill, session_id: int, equity_id: int) -> Row:
    """A row of ``fills``; ``equity_id`` is that of the account right after it, 0 where none was noted."""
    return (
        fill.id,
        fill.order_id,
        fill.symbol,
        fill.side,
        plain(fill.quantity),
        plain(fill.price),
        plain(fill.notional),
        plain(fill.fee),
        fill.liquidity,
        plain(fill.realized_pnl),
        fill.time_ms,
        fill.rule,
        plain(fill.reference_price),
        fill.late,
        fill.reference_ms,
        plain(fill.slippage),
        fill.preset,
        session_id,
        equity_id,
    )


def funding_row(paid: FundingPayment, session_id: int, equity_id: int) -> Row:
    """A row of ``funding``."""
    figures = map(plain, (paid.rate, paid.mark_price, paid.quantity, paid.payment))
    return (paid.symbol, paid.time_ms, *figures, paid.mark_source, session_id, equity_id)


def transfer_row(moved: Transfer, session_id: int, equity_id: int) -> Row:
    """A row of ``transfers``."""
    return (moved.id, moved.time_ms, plain(moved.amount), moved.reason, session_id, equity_id)


def position_row(position: Position) -> Row:
    """A row of ``positions``. Its price is for people alone: the exact figures are quantity and cost."""
    return (
        position.symbol,
        plain(position.quantity),
        plain(position.cost / position.quantity) if position.quantity else "0",
        plain(position.cost),
        position.opened_ms,
        position.updated_ms,
    )


def mark_row(mark: Mark) -> Row:
    """A row of ``marks``."""
    return (mark.symbol, plain(mark.price), mark.time_ms)


def equity_row(row: Equity, session_id: int, equity_id: int) -> Row:
    """A row of ``equity``."""
    return (
        equity_id,
        session_id,
        row.time_ms,
        plain(row.cash),
        plain(row.unrealized_pnl),
        plain(row.equity),
        plain(row.unit_value),
    )


def round_trip_row(trip: RoundTrip, session_id: int) -> Row:
    """A row of ``round_trips``; prices are means for people, the exact figures are notionals and quantities."""
    ended = trip.closed_ms is not None
    exit_price = quotient(trip.exit_notional, trip.exit_quantity) if trip.exit_quantity else None
    return (
        trip.id,
        session_id,
        session_id if ended else None,
        trip.symbol,
        trip.side,
        trip.signal_id,
        trip.opened_ms,
        trip.closed_ms,
        plain(trip.quantity),
        plain(EXACT.normalize(quotient(trip.entry_notional, trip.quantity))),
        plain(trip.entry_notional),
        plain(trip.exit_quantity),
        None if exit_price is None else plain(EXACT.normalize(exit_price)),
        plain(trip.exit_notional),
        plain(trip.realized_pnl),
        plain(trip.fees),
        plain(trip.funding),
        plain(trip.net),
        trip.bars,
        plain(trip.adverse),
        plain(trip.favourable),
        trip.exit_reason,
    )
