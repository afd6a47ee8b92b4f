"""Isolated margin on linear contracts: what backs a position, what an order needs, when one is liquidated.

One position a symbol. It is backed by its cost over the leverage; the exchange takes it over where the
mark price leaves less of that than the maintenance margin, and settles at the price at which nothing is
left. Spot is not leveraged and never liquidated.

What the cash cannot pay (funding above all) is taken out of the margin that is bound, which brings the
liquidation nearer. Which of several positions it was taken from is not kept: each is judged as if it were
that one.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal

from bot.exact import EXACT, ZERO, to_tick
from bot.market import Instrument, RiskTier
from bot.trading.events import Order, Position, Side
from bot.trading.fills import BrokerConfig
from bot.trading.limits import RiskContext, Rule

_ONE = Decimal(1)
_INFINITY = Decimal("Infinity")

_ASSUMED_MAINTENANCE = Decimal("0.005")
"""Where no tiers are known: the rate of the first tier of the largest contracts."""

# What margin is needed is compared, never booked, so it may be rounded: up, against the trader.
_UP = Context(prec=28, rounding=ROUND_UP)
_DOWN = Context(prec=28, rounding=ROUND_DOWN)


def tier_of(instrument: Instrument, value: Decimal) -> RiskTier:
    """The tier that a position of this value (quote currency) falls into: the last one where it exceeds all."""
    for tier in instrument.tiers:
        if value <= tier.limit:
            return tier
    if instrument.tiers:
        return instrument.tiers[-1]
    return RiskTier(
        limit=_INFINITY,
        maintenance_rate=_ASSUMED_MAINTENANCE,
        initial_rate=_UP.divide(1, instrument.max_leverage),
        max_leverage=instrument.max_leverage,
    )


class Margin:
    """The rules of isolated margin for the configured leverages; holds no state."""

    def __init__(self, config: BrokerConfig, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._taker_fee = config.taker_fee
        self._leverage_of = config.leverage_of

    def _of(self, symbol: str) -> tuple[Instrument, Decimal]:
        """The rules and the leverage of a symbol that is traded."""
        return self._instruments[symbol], self._leverage(symbol)

    def _leverage(self, symbol: str) -> Decimal:
        # Of what is held beside the run, older recordings do not tell the rules.
        rules = self._instruments.get(symbol)
        return self._leverage_of(symbol) if rules is not None and rules.category == "linear" else _ONE

    def _is_spot(self, symbol: str) -> bool:
        # Of what is held beside the run, older recordings do not tell the rules.
        rules = self._instruments.get(symbol)
        return rules is not None and rules.category == "spot"

    def missing(self, cash: Decimal, positions: Iterable[Position]) -> Decimal:
        """What ``cash`` lacks of all that the positions bind; 0 where it suffices."""
        return max(EXACT.minus(self.free(cash, positions)), ZERO)

    def is_liquidated(self, position: Position, mark: Decimal, missing: Decimal = ZERO) -> bool:
        """Whether at this mark price the position's margin and PnL are down to its maintenance margin.

        ``missing`` is what has been taken out of its margin.
        """
        if not position.quantity or self._is_spot(position.symbol):
            return False
        instrument, leverage = self._of(position.symbol)
        long = position.quantity > 0
        value = EXACT.multiply(position.quantity, mark).copy_abs()
        cost = position.cost.copy_abs()
        pnl = EXACT.subtract(value, cost) if long else EXACT.subtract(cost, value)
        if not missing and (pnl >= 0 or (long and leverage == 1)):
            return False
        tier = tier_of(instrument, value)
        maintenance = EXACT.subtract(EXACT.multiply(value, tier.maintenance_rate), tier.deduction)
        # Both sides times the leverage: a division would have to be rounded.
        left = EXACT.add(_left(cost, leverage, missing), EXACT.multiply(leverage, pnl))
        return left <= EXACT.multiply(leverage, maintenance)

    def alarm(self, position: Position, missing: Decimal = ZERO) -> Decimal | None:
        """A mark price before which the position is surely not liquidated; None where it never is.

        A long one is safe above it, a short one below. It is not the liquidation price, but spares
        asking at each price whether that has come.
        """
        if not position.quantity or self._is_spot(position.symbol):
            return None
        instrument, leverage = self._of(position.symbol)
        long = position.quantity > 0
        if long and leverage == 1 and not missing:
            return None
        # Where the highest rate applies and nothing is deducted, it comes first.
        rate = max((tier.maintenance_rate for tier in instrument.tiers), default=_ASSUMED_MAINTENANCE)
        quantity = position.quantity.copy_abs()
        bankrupt = self._bankrupt(position, leverage, missing)
        if long:
            kept = EXACT.multiply(EXACT.multiply(quantity, leverage), EXACT.subtract(1, rate))
            return _UP.divide(bankrupt, kept)
        kept = EXACT.multiply(EXACT.multiply(quantity, leverage), EXACT.add(1, rate))
        return _DOWN.divide(bankrupt, kept)

    def bankruptcy_price(self, position: Position, missing: Decimal = ZERO) -> Decimal:
        """The price at which the position's loss is its margin, rounded to the tick against the trader."""
        instrument, leverage = self._of(position.symbol)
        over = EXACT.multiply(position.quantity.copy_abs(), leverage)
        bankrupt = self._bankrupt(position, leverage, missing)
        return to_tick(bankrupt, over, instrument.tick_size, up=position.quantity < 0)

    @staticmethod
    def _bankrupt(position: Position, leverage: Decimal, missing: Decimal) -> Decimal:
        """What the position is worth, times its leverage, where its loss is what is left of its margin."""
        cost = position.cost.copy_abs()
        left = _left(cost, leverage, missing)
        worth = EXACT.multiply(cost, leverage)
        return EXACT.subtract(worth, left) if position.quantity > 0 else EXACT.add(worth, left)

    def reserved(self, position: Position) -> Decimal:
        """What a position binds of the account: its initial margin and the fee to close it at bankruptcy."""
        if self._is_spot(position.symbol):
            return position.cost
        long = position.quantity > 0
        return self._bound(position.symbol, position.cost.copy_abs(), long=long)

    def needed(self, order: Order, position: Position, price: Decimal) -> Decimal:
        """What an order binds of the account beside its symbol's position, both fees included.

        ``price`` stands in where the order names none. What only reduces the position needs nothing.
        """
        opening = _opening(order, position)
        if not opening:
            return ZERO
        value = EXACT.multiply(opening, order.limit_price or order.stop_price or price)
        fee = EXACT.multiply(value, self._taker_fee)
        if self._is_spot(order.symbol):
            return EXACT.add(value, fee)
        return _UP.add(self._bound(order.symbol, value, long=order.side == "buy"), fee)

    def backed(self, symbol: str, side: Side, price: Decimal, free: Decimal) -> Decimal:
        """How much of a symbol so much free cash can open at this price, both fees included: whole lots."""
        if free <= 0:
            return ZERO
        instrument, leverage = self._of(symbol)
        if instrument.category == "spot":
            fees = _ONE
        else:
            # In, and out at the bankruptcy price; times the leverage, for a division would have to be rounded.
            twice = EXACT.multiply(2, leverage)
            fees = EXACT.subtract(twice, 1) if side == "buy" else EXACT.add(twice, 1)
        each = EXACT.multiply(price, EXACT.add(1, EXACT.multiply(fees, self._taker_fee)))
        lots = EXACT.divide_int(EXACT.multiply(free, leverage), EXACT.multiply(each, instrument.lot_size))
        return EXACT.multiply(lots, instrument.lot_size)

    def lent(self, symbol: str, price: Decimal, held: Decimal) -> Decimal:
        """How much of a symbol the exchange's tiers let be opened at this price, beside ``held`` on the same side.

        Whole lots; Infinity where nothing limits it.
        """
        instrument, leverage = self._of(symbol)
        if instrument.category == "spot" or leverage == 1:
            return _INFINITY
        if leverage > instrument.max_leverage:
            return ZERO
        limits = [tier.limit for tier in instrument.tiers if leverage <= tier.max_leverage]
        limit = max(limits, default=ZERO) if instrument.tiers else _INFINITY
        if limit == _INFINITY:
            return limit
        left = max(EXACT.subtract(limit, EXACT.multiply(held, price)), ZERO)
        lots = EXACT.divide_int(left, EXACT.multiply(price, instrument.lot_size))
        return EXACT.multiply(lots, instrument.lot_size)

    def free(
        self,
        cash: Decimal,
        positions: Iterable[Position],
        waiting: Iterable[Order] = (),
        marks: Mapping[str, Decimal] = {},
        *,
        without: str | None = None,
    ) -> Decimal:
        """What of ``cash`` is bound neither by positions nor by waiting orders (``without``'s aside)."""
        held = {position.symbol: position for position in positions}
        for position in held.values():
            cash = _UP.subtract(cash, self.reserved(position))
        for order in waiting:
            if order.symbol != without:
                position = held.get(order.symbol) or Position(symbol=order.symbol)
                cash = _UP.subtract(cash, self.needed(order, position, marks.get(order.symbol, ZERO)))
        return cash

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The risk review's rules for entries that are the exchange's: what it lends, and against what."""
        return {"risk_limit": self._risk_limit, "insufficient_margin": self._insufficient_margin}

    def _insufficient_margin(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        position, free = context.position, context.free_margin
        needed = self.needed(order, position, context.bar.close)
        if position.quantity and (position.quantity > 0) == (order.side == "sell"):
            # What it closes first gives its margin back.
            free = _UP.add(free, self.reserved(position))
        if needed <= free:
            return None
        return f"it binds {needed:f} of margin and fees, {free:f} is free"

    def _risk_limit(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        _, leverage = self._of(order.symbol)
        if instrument.category == "spot" or leverage == 1:
            return None
        change = order.quantity if order.side == "buy" else EXACT.minus(order.quantity)
        quantity = EXACT.add(context.position.quantity, change)
        value = EXACT.multiply(quantity, order.limit_price or context.bar.close).copy_abs()
        tiers = instrument.tiers
        allowed = min(tier_of(instrument, value).max_leverage, instrument.max_leverage)
        if tiers and value > tiers[-1].limit:
            return f"a position worth {value:f} is above the exchange's last risk limit, {tiers[-1].limit:f}"
        if leverage <= allowed:
            return None
        return f"a position worth {value:f} may have leverage {allowed:f}, not {leverage:f}"

    def _bound(self, symbol: str, value: Decimal, *, long: bool) -> Decimal:
        share = _UP.divide(value, self._leverage(symbol))
        at_bankruptcy = _UP.subtract(value, share) if long else _UP.add(value, share)
        return _UP.add(share, _UP.multiply(at_bankruptcy, self._taker_fee))


def _left(cost: Decimal, leverage: Decimal, missing: Decimal) -> Decimal:
    """What is left of a position's margin, times its leverage."""
    return max(EXACT.subtract(cost, EXACT.multiply(leverage, missing)), ZERO) if missing else cost


def _opening(order: Order, position: Position) -> Decimal:
    """How much of what is left of the order would add to a position or open one."""
    if order.reduce_only or order.status == "pending":
        return ZERO
    left = EXACT.subtract(order.quantity, order.filled_quantity)
    against = position.quantity < 0 if order.side == "buy" else position.quantity > 0
    return max(EXACT.subtract(left, position.quantity.copy_abs()), ZERO) if against else left
