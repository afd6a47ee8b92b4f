"""What an order is judged by, and the rules on entries that depend on nothing else."""

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from bot.market import TRADING, Bar, Instrument
from bot.trading.events import Equity, Order, Position


class RiskContext(Struct, frozen=True, kw_only=True):
    """What an order is judged by.

    ``bar`` is the one that was decided on; its close prices the order. ``position`` is its
    symbol's. ``exposure`` is the worth of the other symbols' positions and waiting orders, and
    ``spendable`` the cash that spot buys may use, both in quote currency, and ``free_margin`` what
    the other symbols leave of the account to back positions. ``needs_quote`` is False in runs that
    have bars alone; ``exits`` are the order's stops and targets, and ``exits_unknown`` is True where they
    cannot be placed, for want of a volatility to measure them by. ``closing`` says that a close asked for by
    hand still waits for the market.
    """

    bar: Bar
    position: Position
    equity: Equity
    exposure: Decimal
    spendable: Decimal
    needs_quote: bool
    free_margin: Decimal = Decimal("Infinity")
    exits: tuple[Order, ...] = ()
    exits_unknown: bool = False
    closing: bool = False


Rule = Callable[[Order, RiskContext, Instrument], str | None]
"""Says in words why an order breaks it, or None."""


def not_trading(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """Nothing can be filled where the exchange does not trade."""
    if instrument.status == TRADING:
        return None
    return f"the exchange's status of {order.symbol} is {instrument.status}"


def being_closed(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """What a person is closing is not entered again by a decision made meanwhile."""
    return "a close asked for by hand still waits for the market" if context.closing else None
