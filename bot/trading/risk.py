"""What may not be ordered, and why."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from bot.market import INTERVAL_MS, Bar, Instrument, Quote
from bot.trading.events import Equity, Order, Position, Rejection
from bot.trading.exact import EXACT, ZERO, is_multiple, require_within


class RiskConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[risk]`` of the configuration.

    Fractions are shares of equity: what an entry takes, what one symbol and what all symbols
    together may come to. None exceeds 1, for the paper account does not borrow. A live entry needs
    a quote no older than ``max_quote_age_bars`` bars before its decision (0: any or none), and
    ``require_contiguous_bars`` bars, its own the last, that each directly followed their
    predecessor (0: a hole does not matter).
    """

    position_fraction: Decimal = Decimal("0.2")
    max_position_fraction: Decimal = Decimal("0.5")
    max_total_fraction: Decimal = Decimal("1.0")
    max_quote_age_bars: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    require_contiguous_bars: Annotated[int, Meta(ge=0, le=100_000)] = 1

    def __post_init__(self) -> None:
        require_within("position_fraction", self.position_fraction, "0.0001", "1")
        require_within("max_position_fraction", self.max_position_fraction, "0.0001", "1")
        require_within("max_total_fraction", self.max_total_fraction, "0.0001", "1")
        if self.position_fraction > self.max_position_fraction:
            raise ValueError(
                f"position_fraction {self.position_fraction} is above max_position_fraction "
                f"{self.max_position_fraction}: no entry would ever pass"
            )


class RiskContext(Struct, frozen=True, kw_only=True):
    """What an order is judged by.

    ``bar`` is the one that was decided on; its close prices the order. ``position`` is its
    symbol's. ``exposure`` is the worth of the other symbols' positions and waiting orders, and
    ``spendable`` the cash that spot buys may use, both in quote currency. ``needs_quote`` is False
    in runs that have bars alone.
    """

    bar: Bar
    position: Position
    equity: Equity
    exposure: Decimal
    spendable: Decimal
    needs_quote: bool


Rule = Callable[[Order, RiskContext, Instrument], str | None]
"""Says in words why an order breaks it, or None."""


class RiskReview:
    """Lets orders pass, or turns them into Rejections; a broken rule is never an exception.

    Rules for entries do not stop exits: where they stop an order that would reverse a position,
    its closing part still passes. What closes a whole position may also be smaller than the
    exchange's minimum, and off its lots.
    """

    def __init__(self, config: RiskConfig, instruments: Mapping[str, Instrument]) -> None:
        self._config = config
        self._instruments = instruments
        self._newest_ms: dict[str, int] = {}
        self._contiguous: dict[str, int] = {}
        self._quoted_ms: dict[str, int] = {}
        exchange: dict[str, Rule] = {
            "lot_size": _lot_size,
            "min_quantity": _min_quantity,
            "min_notional": _min_notional,
            "max_market_quantity": _max_market_quantity,
        }
        self._partial_exit_rules = exchange
        self._whole_exit_rules: dict[str, Rule] = {"max_market_quantity": _max_market_quantity}
        self._entry_rules: dict[str, Rule] = {
            "reduce_only": _reduce_only,
            "spot_short": _spot_short,
            "hole_in_bars": self._hole_in_bars,
            "stale_quote": self._stale_quote,
            **exchange,
            "max_position": self._max_position,
            "max_total": self._max_total,
            "spot_cash": _spot_cash,
        }

    def observe(self, bar: Bar) -> None:
        """Take note of a closed bar, in order, before anything is decided on it."""
        symbol, start_ms = bar.symbol, bar.start_ms
        if self._newest_ms.get(symbol) == start_ms - INTERVAL_MS[bar.interval]:
            self._contiguous[symbol] += 1
        else:
            self._contiguous[symbol] = 0
        self._newest_ms[symbol] = start_ms

    def observe_quote(self, quote: Quote) -> None:
        """Take note that a symbol was quoted."""
        self._quoted_ms[quote.symbol] = quote.time_ms

    def review(
        self, orders: Iterable[Order], context: RiskContext
    ) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
        """Orders that may be placed, and the others with the first rule that each breaks.

        A reversal that may not enter comes back in both: its close passes, its entry is rejected.
        """
        passed: list[Order] = []
        rejections: list[Rejection] = []
        for order in orders:
            instrument = self._instruments.get(order.symbol)
            if instrument is None:
                reason = f"the trading rules of {order.symbol} are not known"
                rejections.append(_rejection(order, "unknown_instrument", reason, context))
                continue
            closing = _closing_quantity(order, context.position)
            entering = EXACT.subtract(order.quantity, closing)
            if entering or not closing:
                broken = _first_broken(self._entry_rules, order, context, instrument)
                if broken is None:
                    passed.append(order)
                    continue
                rejections.append(_rejection(replace(order, quantity=entering), *broken, context))
                if not closing:
                    continue
                order = replace(order, quantity=closing, reduce_only=True)
            whole = closing == context.position.quantity.copy_abs()
            rules = self._whole_exit_rules if whole else self._partial_exit_rules
            broken = _first_broken(rules, order, context, instrument)
            if broken is None:
                passed.append(order)
            else:
                rejections.append(_rejection(order, *broken, context))
        return tuple(passed), tuple(rejections)

    def _hole_in_bars(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        needed = self._config.require_contiguous_bars
        found = self._contiguous.get(order.symbol, 0)
        if found >= needed:
            return None
        if needed == 1:
            return "the bar does not directly follow the one before it"
        return f"only {found} bars in a row, {needed} are required after a hole"

    def _stale_quote(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        bars = self._config.max_quote_age_bars
        if not bars or not context.needs_quote:
            return None
        quoted_ms = self._quoted_ms.get(order.symbol)
        if quoted_ms is None:
            return "no quote has come yet"
        age_ms = context.bar.close_ms - quoted_ms
        if age_ms <= bars * INTERVAL_MS[context.bar.interval]:
            return None
        return f"the last quote is {age_ms} ms old, older than {bars:g} bars"

    def _max_position(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        value = _value_after(order, context)
        limit = EXACT.multiply(self._config.max_position_fraction, context.equity.equity)
        if value <= limit:
            return None
        return (
            f"a position worth {value:f} is above {self._config.max_position_fraction} of equity, {limit:f}"
        )

    def _max_total(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        value = EXACT.add(context.exposure, _value_after(order, context))
        limit = EXACT.multiply(self._config.max_total_fraction, context.equity.equity)
        if value <= limit:
            return None
        return f"positions worth {value:f} are above {self._config.max_total_fraction} of equity, {limit:f}"


def _reduce_only(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if not order.reduce_only:
        return None
    return f"it may only reduce a position, which is {context.position.quantity:f}"


def _spot_short(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if instrument.category != "spot" or order.side == "buy":
        return None
    return f"spot cannot be sold short, and only {context.position.quantity:f} is held"


def _lot_size(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if is_multiple(order.quantity, instrument.lot_size):
        return None
    return f"quantity {order.quantity:f} is not a multiple of the lot {instrument.lot_size:f}"


def _min_quantity(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if order.quantity > 0 and order.quantity >= instrument.min_quantity:
        return None
    return f"quantity {order.quantity:f} is below the minimum {instrument.min_quantity:f}"


def _min_notional(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    value = EXACT.multiply(order.quantity, context.bar.close)
    if value >= instrument.min_notional:
        return None
    return f"an order worth {value:f} is below the minimum {instrument.min_notional:f}"


def _max_market_quantity(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    limit = instrument.max_market_quantity
    if limit is None or order.quantity <= limit:
        return None
    return f"quantity {order.quantity:f} is above the maximum of a market order, {limit:f}"


def _spot_cash(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if instrument.category != "spot":
        return None
    value = EXACT.multiply(order.quantity, context.bar.close)
    if value <= context.spendable:
        return None
    return f"an order worth {value:f} is above the spendable cash, {context.spendable:f}"


def _closing_quantity(order: Order, position: Position) -> Decimal:
    """How much of the order only reduces the position."""
    against = position.quantity < 0 if order.side == "buy" else position.quantity > 0
    return min(order.quantity, position.quantity.copy_abs()) if against else ZERO


def _value_after(order: Order, context: RiskContext) -> Decimal:
    """What the position is worth at the close once the order fills, its sign aside."""
    change = order.quantity if order.side == "buy" else EXACT.minus(order.quantity)
    return EXACT.multiply(EXACT.add(context.position.quantity, change), context.bar.close).copy_abs()


def _first_broken(
    rules: Mapping[str, Rule], order: Order, context: RiskContext, instrument: Instrument
) -> tuple[str, str] | None:
    for name, rule in rules.items():
        reason = rule(order, context, instrument)
        if reason is not None:
            return name, reason
    return None


def _rejection(order: Order, rule: str, reason: str, context: RiskContext) -> Rejection:
    rejected = replace(order, status="rejected", reason=f"{rule}: {reason}", updated_ms=context.bar.close_ms)
    return Rejection(order=rejected, rule=rule, reason=reason)
