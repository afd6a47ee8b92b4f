"""What an order is judged by, and the rules that depend on nothing else: each a pure function."""

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from bot.exact import EXACT, is_multiple
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
"""The reason why an order breaks the rule, as text, or None."""


def not_trading(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """Nothing can be filled where the exchange does not trade."""
    if instrument.status == TRADING:
        return None
    return f"the exchange's status of {order.symbol} is {instrument.status}"


def being_closed(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """What a person is closing is not entered again by a decision made meanwhile."""
    return "a close asked for by hand still waits for the market" if context.closing else None


def reduce_only(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """An order that may only reduce a position never enters one."""
    if not order.reduce_only:
        return None
    return f"it may only reduce a position, which is {context.position.quantity:f}"


def spot_short(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """Spot cannot be sold short."""
    if instrument.category != "spot" or order.side == "buy":
        return None
    return f"spot cannot be sold short, and only {context.position.quantity:f} is held"


def exits_unknown(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """An entry whose exits cannot be placed would be held without them."""
    if not context.exits_unknown:
        return None
    return "its stop or target is measured in volatility, for which too few unbroken bars are known"


def exit_out_of_reach(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """An exit at a price of 0 or less would never come."""
    price = order.limit_price or context.bar.close
    for exit in context.exits:
        below = (exit.side == "sell") != (exit.type == "take_profit")
        if below and exit.distance is not None and exit.distance >= price:
            return (
                f"its {exit.type} lies {exit.distance:f} below a price of {price:f}, where none ever comes; "
                "distances are in volatilities of one bar"
            )
    return None


def lot_size(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """Quantities are multiples of the lot."""
    if is_multiple(order.quantity, instrument.lot_size):
        return None
    return f"quantity {order.quantity:f} is not a multiple of the lot {instrument.lot_size:f}"


def min_quantity(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """An order has at least the exchange's minimum quantity."""
    if order.quantity > 0 and order.quantity >= instrument.min_quantity:
        return None
    return f"quantity {order.quantity:f} is below the minimum {instrument.min_quantity:f}"


def min_notional(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """An order has at least the exchange's minimum value, at its limit or the close."""
    value = EXACT.multiply(order.quantity, order.limit_price or context.bar.close)
    if value >= instrument.min_notional:
        return None
    return f"an order worth {value:f} is below the minimum {instrument.min_notional:f}"


def max_market_quantity(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """A market order has at most the exchange's maximum quantity."""
    limit = instrument.max_market_quantity
    if limit is None or order.quantity <= limit:
        return None
    return f"quantity {order.quantity:f} is above the maximum of a market order, {limit:f}"


def spot_cash(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    """A spot order is paid for with the cash that is free."""
    if instrument.category != "spot":
        return None
    value = EXACT.multiply(order.quantity, order.limit_price or context.bar.close)
    if value <= context.spendable:
        return None
    return f"an order worth {value:f} is above the spendable cash, {context.spendable:f}"


def max_position(fraction: Decimal) -> Rule:
    """The symbol's position after the order has at most this fraction of equity."""

    def rule(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        value, limit = _value_after(order, context), EXACT.multiply(fraction, context.equity.equity)
        if value <= limit:
            return None
        return f"a position worth {value:f} is above {fraction} of equity, {limit:f}"

    return rule


def max_total(fraction: Decimal) -> Rule:
    """All positions and open orders, this one filled, have at most this fraction of equity."""

    def rule(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        value = EXACT.add(context.exposure, _value_after(order, context))
        limit = EXACT.multiply(fraction, context.equity.equity)
        if value <= limit:
            return None
        return f"positions worth {value:f} are above {fraction} of equity, {limit:f}"

    return rule


def max_leverage(limit: Decimal, leverage_of: Callable[[str], Decimal]) -> Rule:
    """The symbol's leverage is at most this one (0: any)."""

    def rule(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        leverage = leverage_of(order.symbol)
        if not limit or instrument.category == "spot" or leverage <= limit:
            return None
        return f"it would be held with leverage {leverage:f}, above {limit:f}"

    return rule


def _value_after(order: Order, context: RiskContext) -> Decimal:
    """What the position is worth at the order's limit, else the close, once it fills, its sign aside."""
    change = order.quantity if order.side == "buy" else EXACT.minus(order.quantity)
    price = order.limit_price or context.bar.close
    return EXACT.multiply(EXACT.add(context.position.quantity, change), price).copy_abs()
