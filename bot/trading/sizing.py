"""Sizer: a Signal becomes an order for the difference to its target, in whole lots."""

from collections.abc import Mapping
from decimal import Decimal

from bot.market import Bar, Instrument
from bot.trading.events import Equity, Order, Position, Signal
from bot.trading.exact import EXACT, ZERO, floor_to
from bot.trading.risk import RiskConfig

# An entry that is smaller than a lot keeps this many decimals, so that the review can name it.
_LESS_THAN_A_LOT = Decimal("1E-12")


class Sizer:
    """Moves a position to what a Signal wants with at most one market order; holds no state.

    Long and short want ± position_fraction * equity / close, rounded down to the lot. Closing
    wants nothing held. A signal in the direction already held changes nothing, however equity has
    moved. On spot, short means not being long.
    """

    def __init__(self, config: RiskConfig, instruments: Mapping[str, Instrument]) -> None:
        self._fraction = config.position_fraction
        self._instruments = instruments

    def orders_for(
        self, signal: Signal, bar: Bar, position: Position, equity: Equity, *, signal_id: int
    ) -> tuple[Order, ...]:
        """The draft that the signal asks for at this bar's close (the broker numbers it), or none."""
        held = position.quantity
        if signal.action == "hold":
            if not signal.close_position or not held:
                return ()
            wanted = ZERO
        else:
            long = signal.action == "long"
            if held and (held > 0) == long:
                return ()
            instrument = self._instruments.get(bar.symbol) or Instrument(symbol=bar.symbol)
            if not long and instrument.category == "spot":
                wanted = ZERO
            else:
                size = self._entry_quantity(bar.close, equity, instrument, rounded=bool(held))
                wanted = size if long else EXACT.minus(size)
        change = EXACT.subtract(wanted, held)
        if not change:
            return ()
        return (self._draft(bar, change, reduce_only=not wanted, signal_id=signal_id),)

    def _entry_quantity(
        self, close: Decimal, equity: Equity, instrument: Instrument, *, rounded: bool
    ) -> Decimal:
        if equity.equity <= 0:
            return ZERO
        money = EXACT.multiply(self._fraction, equity.equity)
        lots = EXACT.divide_int(money, EXACT.multiply(close, instrument.lot_size))
        if lots or rounded:
            return EXACT.multiply(lots, instrument.lot_size)
        return EXACT.multiply(
            EXACT.divide_int(money, EXACT.multiply(close, _LESS_THAN_A_LOT)), _LESS_THAN_A_LOT
        )

    def _draft(self, bar: Bar, change: Decimal, *, reduce_only: bool, signal_id: int) -> Order:
        quantity = change.copy_abs()
        instrument = self._instruments.get(bar.symbol)
        if instrument is not None and instrument.max_market_quantity is not None:
            quantity = min(quantity, floor_to(instrument.max_market_quantity, instrument.lot_size))
        return Order(
            id=0,
            signal_id=signal_id,
            symbol=bar.symbol,
            side="buy" if change > 0 else "sell",
            quantity=quantity,
            created_ms=bar.close_ms,
            updated_ms=bar.close_ms,
            due_ms=bar.close_ms,
            reduce_only=reduce_only,
        )
