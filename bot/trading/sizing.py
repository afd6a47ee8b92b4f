"""Sizer: a Signal becomes an order for the difference to its target, in whole lots, and that order's bracket."""

from collections.abc import Mapping
from decimal import Decimal
from math import sqrt

from msgspec.structs import replace

from bot.exact import EXACT, ZERO, ceil_to, floor_to
from bot.market import INTERVAL_MS, Bar, Instrument
from bot.trading.events import Equity, Order, OrderType, Position, Signal
from bot.trading.fills import fine_tick
from bot.trading.risk import NO_SIZE, RiskConfig

_YEAR_MS = 365.25 * 86_400_000

# An entry that is smaller than a lot keeps this many decimals, so that the review can name it.
_LESS_THAN_A_LOT = NO_SIZE


class Sizer:
    """Moves a position to what a Signal wants with at most one market order; holds no state.

    Long and short want ± share * equity / close, rounded down to the lot, where the share is that of
    the configured ``sizing``. Closing wants nothing held. A signal in the direction already held
    changes nothing, however equity has moved. On spot, short means not being long.

    An entry brings the exits that the Signal asks for as children: stop, target and trail at their
    distance in volatilities of the close, up to the tick; and a market order that waits for the time stop.
    """

    def __init__(self, config: RiskConfig, instruments: Mapping[str, Instrument]) -> None:
        self._config = config
        self.needs_volatility = config.sizing == "volatility"
        """Whether the size of an entry depends on the volatility."""
        self._instruments = instruments

    def orders_for(
        self,
        signal: Signal,
        bar: Bar,
        position: Position,
        equity: Equity,
        *,
        signal_id: int,
        volatility: float | None = None,
    ) -> tuple[Order, ...]:
        """The drafts that the signal asks for at this bar's close (the broker numbers them), or none.

        ``volatility`` is the size to expect of the next bar's log return; without it no exits are
        drafted that depend on it, and the review lets no such entry pass.
        """
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
                share = self._share(signal, bar.interval, volatility)
                size = self._entry_quantity(share, bar.close, equity, instrument, rounded=bool(held))
                if not share and not held:
                    # As small as can be, so that the review can say that nothing gives it a size.
                    size = NO_SIZE
                wanted = size if long else EXACT.minus(size)
        change = EXACT.subtract(wanted, held)
        if not change:
            return ()
        draft = self._draft(bar, change, reduce_only=not wanted, signal_id=signal_id)
        if not wanted:
            return (draft,)
        opening = min(wanted.copy_abs(), draft.quantity)
        return (draft, *self._exits(signal, draft, opening, bar, volatility))

    def _exits(
        self, signal: Signal, entry: Order, opening: Decimal, bar: Bar, volatility: float | None
    ) -> tuple[Order, ...]:
        """The children of an entry, pending."""
        child = replace(
            entry,
            side="sell" if entry.side == "buy" else "buy",
            quantity=opening,
            reduce_only=True,
            parent_id=0,
            status="pending",
        )
        exits = []
        kinds: tuple[tuple[OrderType, float | None], ...] = (
            ("stop_market", signal.stop_distance),
            ("trailing_stop", signal.trail_distance),
            ("take_profit", signal.target_distance),
        )
        for kind, distance in kinds:
            if distance is not None and volatility is not None:
                away = self._price_distance(bar, distance * volatility)
                exits.append(replace(child, type=kind, distance=away))
        if signal.time_stop_bars is not None:
            waits_ms = signal.time_stop_bars * INTERVAL_MS[bar.interval]
            exits.append(replace(child, due_ms=entry.due_ms + waits_ms))
        return tuple(exits)

    def _price_distance(self, bar: Bar, share: float) -> Decimal:
        """That share of the close, up to the tick; a float's last digits must not reach a price."""
        instrument = self._instruments.get(bar.symbol) or Instrument(symbol=bar.symbol)
        tick = fine_tick(bar.close, instrument.tick_size)
        return max(ceil_to(EXACT.multiply(bar.close, Decimal(f"{share:.6f}")), tick), tick)

    def closing(self, position: Position, time_ms: int, *, signal_id: int) -> Order:
        """The draft that closes a position, as far as one market order may."""
        quantity = position.quantity.copy_abs()
        instrument = self._instruments.get(position.symbol)
        if instrument is not None and instrument.max_market_quantity is not None:
            quantity = min(quantity, floor_to(instrument.max_market_quantity, instrument.lot_size))
        return Order(
            id=0,
            signal_id=signal_id,
            symbol=position.symbol,
            side="sell" if position.quantity > 0 else "buy",
            quantity=quantity,
            created_ms=time_ms,
            updated_ms=time_ms,
            due_ms=time_ms,
            reduce_only=True,
            reason="halted: everything is sold",
        )

    def _share(self, signal: Signal, interval: str, volatility: float | None) -> Decimal:
        """What share of equity an entry takes: 0 where nothing says how much, the largest position at most."""
        config = self._config
        if config.sizing == "fixed":
            return config.position_fraction
        share = 0.0
        if config.sizing == "volatility":
            if volatility:
                share = config.volatility_target / (volatility * sqrt(_YEAR_MS / INTERVAL_MS[interval]))
        elif signal.expected_return is not None and signal.return_std:
            # Log returns over the horizon: the fraction that grows fastest is close to mean over variance.
            edge = signal.expected_return if signal.action == "long" else -signal.expected_return
            share = config.kelly_fraction * max(edge, 0.0) / signal.return_std**2
        # A float's last digits must not reach a quantity.
        return min(Decimal(f"{share:.6f}"), config.max_position_fraction)

    def _entry_quantity(
        self, share: Decimal, close: Decimal, equity: Equity, instrument: Instrument, *, rounded: bool
    ) -> Decimal:
        if equity.equity <= 0:
            return ZERO
        money = EXACT.multiply(share, equity.equity)
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
