"""Sizer: a Signal becomes an order for the difference to its target, in whole lots, and that order's bracket."""

from collections.abc import Mapping
from decimal import Decimal
from math import sqrt

from msgspec.structs import replace

from bot.exact import EXACT, ZERO, ceil_to, floor_to
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, Instrument
from bot.trading.events import Equity, Order, OrderType, Position, Rejection, Signal
from bot.trading.risk import RiskConfig

# An entry that is smaller than a lot is refused with its size to this digit.
_LAST_DIGIT = Decimal("1E-12")


class Sizer:
    """Moves a position to what a Signal wants with at most one market order; holds no state.

    Long and short want ± share * equity / close, rounded down to the lot, where the share is that of
    the configured ``sizing``. Closing wants nothing held. A signal in the direction already held
    changes nothing, however equity has moved. On spot, short means not being long.

    An entry brings the exits that the Signal asks for as children: stop, target and trail at their
    distance in volatilities of the close, up to the tick; and a market order that waits for the time stop.

    An entry that has no size, or less than a lot, is refused here: there is no order that the review could
    judge.
    """

    def __init__(
        self, config: RiskConfig, instruments: Mapping[str, Instrument], calendar: Calendar = ALWAYS_OPEN
    ) -> None:
        self._config = config
        self._calendar = calendar
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
    ) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
        """The drafts that the signal asks for at this bar's close (the broker numbers them), and refusals.

        A refusal names the size that was wanted, or one lot where nothing gave the entry any.

        ``volatility`` is the size to expect of the next bar's log return; without it no exits are
        drafted that depend on it, and the review lets no such entry pass.
        """
        held = position.quantity
        if signal.action == "hold":
            if not signal.close_position or not held:
                return (), ()
            wanted = ZERO
        else:
            long = signal.action == "long"
            if held and (held > 0) == long:
                return (), ()
            instrument = self._instruments[bar.symbol]
            if not long and instrument.category == "spot":
                wanted = ZERO
            else:
                share = self._share(signal, bar, volatility)
                money = EXACT.multiply(share, max(equity.equity, ZERO))
                lots = EXACT.divide_int(money, EXACT.multiply(bar.close, instrument.lot_size))
                if not lots and not held:
                    return (), (self._refusal(bar, money, long=long, signal_id=signal_id),)
                size = EXACT.multiply(lots, instrument.lot_size)
                wanted = size if long else EXACT.minus(size)
        change = EXACT.subtract(wanted, held)
        if not change:
            return (), ()
        draft = self._draft(bar, change, reduce_only=not wanted, signal_id=signal_id)
        if not wanted:
            if signal.action != "hold" and instrument.category != "spot":
                draft = replace(draft, reason="closes_only: the size of the entry is less than a lot")
            return (draft,), ()
        opening = min(wanted.copy_abs(), draft.quantity)
        return (draft, *self._exits(signal, draft, opening, bar, volatility)), ()

    def _refusal(self, bar: Bar, money: Decimal, *, long: bool, signal_id: int) -> Rejection:
        """Why an entry that ``money`` (quote currency) buys less than a lot of is not ordered."""
        lot = self._instruments[bar.symbol].lot_size
        digits = EXACT.divide_int(money, EXACT.multiply(bar.close, _LAST_DIGIT))
        size = EXACT.multiply(digits, _LAST_DIGIT)
        if money:
            rule, reason = "lot_size", f"{money:f} buys {size:f}, less than the lot {lot:f}"
        else:
            rule, reason = "no_size", f"{self._config.sizing} sizing gives it nothing: {self._no_size()}"
        draft = self._draft(bar, size or lot, reduce_only=False, signal_id=signal_id)
        refused = replace(
            draft, side="buy" if long else "sell", status="rejected", reason=f"{rule}: {reason}"
        )
        return Rejection(order=refused, rule=rule, reason=reason)

    def _no_size(self) -> str:
        match self._config.sizing:
            case "volatility":
                return "the volatility is not known yet, or nothing is left of the equity"
            case "kelly":
                return "no return is expected that way, its spread is not known, or nothing is left of the equity"
            case _:
                return "nothing is left of the equity"

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
            reason="",
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
        tick = self._instruments[bar.symbol].tick_size
        return max(ceil_to(EXACT.multiply(bar.close, Decimal(f"{share:.6f}")), tick), tick)

    def closing(self, position: Position, time_ms: int, *, signal_id: int, reason: str) -> tuple[Order, ...]:
        """The drafts that close a position at market, each as large as one order may be."""
        drafts: list[Order] = []
        left = position.quantity.copy_abs()
        while left:
            quantity = self._at_once(position.symbol, left) or left
            draft = Order(
                id=0,
                signal_id=signal_id,
                symbol=position.symbol,
                side="sell" if position.quantity > 0 else "buy",
                quantity=quantity,
                created_ms=time_ms,
                updated_ms=time_ms,
                due_ms=self._calendar.clock_ms(time_ms),
                reduce_only=True,
                reason=reason,
            )
            drafts.append(draft)
            left = EXACT.subtract(left, quantity)
        return tuple(drafts)

    def _at_once(self, symbol: str, quantity: Decimal) -> Decimal:
        """So much of a quantity as one market order may take."""
        # Of what is held beside the run, older recordings do not tell the rules.
        rules = self._instruments.get(symbol)
        if rules is None or rules.max_market_quantity is None:
            return quantity
        return min(quantity, floor_to(rules.max_market_quantity, rules.lot_size))

    def _share(self, signal: Signal, bar: Bar, volatility: float | None) -> Decimal:
        """What share of equity an entry takes: 0 where nothing says how much, the largest position at most."""
        config = self._config
        if config.sizing == "fixed":
            return config.position_fraction
        share = 0.0
        if config.sizing == "volatility":
            if volatility:
                bars = self._calendar.bars_a_year(bar.close_ms, bar.interval)
                share = config.volatility_target / (volatility * sqrt(bars))
        elif signal.expected_return is not None and signal.return_std and signal.return_std**2:
            # Log returns over the horizon: the fraction that grows fastest is close to mean over variance.
            edge = signal.expected_return if signal.action == "long" else -signal.expected_return
            share = config.kelly_fraction * max(edge, 0.0) / signal.return_std**2
        # A float's last digits must not reach a quantity.
        return min(Decimal(f"{share:.6f}"), config.max_position_fraction)

    def _draft(self, bar: Bar, change: Decimal, *, reduce_only: bool, signal_id: int) -> Order:
        wanted = change.copy_abs()
        quantity, reason = self._at_once(bar.symbol, wanted), ""
        if quantity != wanted:
            reason = f"shortened: to {quantity:f} of {wanted:f}, the most of one market order"
        return Order(
            id=0,
            signal_id=signal_id,
            symbol=bar.symbol,
            side="buy" if change > 0 else "sell",
            quantity=quantity,
            created_ms=bar.close_ms,
            updated_ms=bar.close_ms,
            due_ms=self._calendar.clock_ms(bar.close_ms),
            reduce_only=reduce_only,
            reason=reason,
        )
