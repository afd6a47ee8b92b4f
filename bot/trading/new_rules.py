"""What new trading rules make of an order that rests: it is brought onto their tick and lot, or withdrawn."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import asdict, replace

from bot.exact import EXACT, ceil_to, floor_to, plain
from bot.market import Instrument, Notice
from bot.trading.events import Order
from bot.trading.unfilled import withdrawn

_TOLD_APART = ("symbol", "category", "source", "known_ms", "status", "delivery_ms", "base_coin", "quote_coin")
"""What is no rule of its own, or is told of by listings."""


def differences(old: Instrument, new: Instrument) -> str:
    """What has changed, for a person, as in ``tick_size 0.1 to 0.5``; empty where no rule has."""
    before, after = asdict(old), asdict(new)
    changed = [name for name in before if name not in _TOLD_APART and before[name] != after[name]]
    return ", ".join(f"{name} {_shown(before[name])} to {_shown(after[name])}" for name in changed)


def under_new_rules(order: Order, rules: Instrument, mark: Decimal | None, time_ms: int) -> Order:
    """The order as it may go on resting; the same where nothing about it has to change.

    Prices go to the new tick, a limit and a target to the side that the order demands more at, a stop to the
    one that is worse for the trader. What is left of an entry goes down to the new lot and to the largest
    market order; where that is nothing, or is below the exchange's minimum, the order is cancelled with the
    reason. ``mark`` prices an order that names no price. What only reduces a position keeps its quantity:
    it may close what is off the new lots.
    """
    after = _on_tick(order, rules.tick_size)
    if not order.reduce_only:
        left = EXACT.subtract(order.quantity, order.filled_quantity)
        kept = floor_to(left, rules.lot_size)
        if order.type == "market" and rules.max_market_quantity is not None:
            kept = min(kept, floor_to(rules.max_market_quantity, rules.lot_size))
        problem = _too_small(order, kept, rules, mark)
        if problem is not None:
            return withdrawn(order, f"rules_changed: {problem}", time_ms)
        after = replace(after, quantity=EXACT.add(order.filled_quantity, kept))
    return order if after == order else replace(after, updated_ms=time_ms)


def rules_notices(
    old: Instrument, new: Instrument, orders: Sequence[Order], time_ms: int
) -> tuple[Notice, ...]:
    """What a person should hear of new rules and of the ``orders`` that they changed; nothing where no rule has."""
    changed = differences(old, new)
    if not changed:
        return ()
    cancelled = sum(order.status == "cancelled" for order in orders)
    told = [f"; {cancelled} open orders were cancelled"] if cancelled else []
    if kept := len(orders) - cancelled:
        told.append(f"; {kept} open orders were brought onto them")
    detail = changed + "".join(told)
    return (Notice(kind="rules_changed", time_ms=time_ms, symbol=new.symbol, detail=detail),)


def _on_tick(order: Order, tick: Decimal) -> Order:
    buys = order.side == "buy"
    # A buy's limit and target go down, its stop up.
    demanding = floor_to if buys else ceil_to
    worse = ceil_to if buys else floor_to
    trigger = demanding if order.type == "take_profit" else worse
    limit, stop, distance = order.limit_price, order.stop_price, order.distance
    return replace(
        order,
        limit_price=None if limit is None else max(demanding(limit, tick), tick),
        stop_price=None if stop is None else max(trigger(stop, tick), tick),
        distance=None if distance is None else max(ceil_to(distance, tick), tick),
    )


def _too_small(order: Order, left: Decimal, rules: Instrument, mark: Decimal | None) -> str | None:
    if not left:
        return f"less than the lot {plain(rules.lot_size)} of the new rules was left to fill"
    if order.filled_quantity:
        return None
    if left < rules.min_quantity:
        return f"quantity {plain(left)} is below the minimum {plain(rules.min_quantity)} of the new rules"
    price = order.limit_price or order.stop_price or mark
    if price is None:
        return None
    value = EXACT.multiply(left, price)
    if value >= rules.min_notional:
        return None
    return f"an order of {plain(value)} is below the minimum {plain(rules.min_notional)} of the new rules"


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, tuple):
        return " ".join(f"{plain(tier.limit)}:{plain(tier.maintenance_rate)}" for tier in value) or "none"
    return "none" if value is None else str(value)
