"""Sizer: a Signal becomes an order for the difference to its target, in whole lots, and that order's bracket."""

from collections.abc import Mapping
from decimal import Decimal
from math import sqrt

from msgspec.structs import replace

from bot.exact import EXACT, ZERO, ceil_to, floor_to
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, Instrument
from bot.trading.config import RiskConfig
from bot.trading.events import Equity, Order, OrderType, Position, Rejection, Signal

# An entry that is smaller than a lot is refused with its size to this digit.
_LAST_DIGIT = Decimal("1E-12")

_FAR = 10
"""A limit so many times the close, or that part of it, is no price of this market but a mistake."""


class Sizer:
    """Moves a position to what a Signal wants with at most one order; holds no state.

    Long and short want ± share * equity / price, rounded down to the lot: the share is the Signal's own size, cut
    to the largest position, else that of the configured ``sizing``; the price is the order's limit, else the
    close. Closing wants nothing held, or less by a fraction. A signal in the direction already held changes
    nothing, however equity has moved. On spot, short means not being long.

    An entry brings the exits that the Signal asks for as children: stop, target and trail at their
    distance in volatilities of the close, up to the tick; and a market order that waits for the time stop.

    An entry that has no size, less than a lot, or a limit that is no price, is refused here, as is closing less
    than a lot: there is no order that the review could judge.
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
            if signal.close_fraction != 1.0:
                return self._part(signal, bar, held, signal_id=signal_id)
            return (self._draft(bar, EXACT.minus(held), reduce_only=True, signal_id=signal_id),), ()
        long = signal.action == "long"
        if held and (held > 0) == long:
            return (), ()
        limit: Decimal | None = None
        if signal.has_limit:
            found = self._limit(signal, bar, volatility)
            if isinstance(found, str):
                return (), (self._refusal(bar, None, found, long=long, signal_id=signal_id),)
            limit = found
        instrument = self._instruments[bar.symbol]
        wanted, cut = ZERO, ""
        if long or instrument.category != "spot":
            share, cut = self._share(signal, bar, volatility)
            money = EXACT.multiply(share, max(equity.equity, ZERO))
            price = limit or bar.close
            lots = EXACT.divide_int(money, EXACT.multiply(price, instrument.lot_size))
            if not lots and not held:
                size, why = self._too_small(signal, money, price, instrument.lot_size)
                return (), (self._refusal(bar, size, why, long=long, signal_id=signal_id),)
            size = EXACT.multiply(lots, instrument.lot_size)
            wanted = size if long else EXACT.minus(size)
        change = EXACT.subtract(wanted, held)
        if not change:
            return (), ()
        draft = self._draft(bar, change, reduce_only=not wanted, signal_id=signal_id)
        if limit is not None:
            draft = self._limited(draft, limit, signal, bar)
        if not wanted:
            if instrument.category != "spot":
                draft = replace(draft, reason="closes_only: the size of the entry is less than a lot")
            return (draft,), ()
        if cut:
            draft = replace(draft, reason=f"{draft.reason}; {cut}" if draft.reason else cut)
        opening = min(wanted.copy_abs(), draft.quantity)
        return (draft, *self._exits(signal, draft, opening, bar, volatility)), ()

    def _part(
        self, signal: Signal, bar: Bar, held: Decimal, *, signal_id: int
    ) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
        """What closes a part of a position; what would be left of less than a lot is closed as well."""
        lot, size = self._instruments[bar.symbol].lot_size, held.copy_abs()
        part = EXACT.multiply(size, Decimal(f"{signal.close_fraction:.6f}"))
        lots = floor_to(part, lot)
        if not lots:
            part = EXACT.normalize(part)
            why = f"lot_size: {signal.close_fraction:g} of {size:f} is {part:f}, less than the lot {lot:f}"
            return (), (self._refusal(bar, part, why, long=held < 0, signal_id=signal_id, reduces=True),)
        if EXACT.subtract(size, lots) < lot:
            lots = size
        change = EXACT.minus(lots) if held > 0 else lots
        return (self._draft(bar, change, reduce_only=True, signal_id=signal_id),), ()

    def _limit(self, signal: Signal, bar: Bar, volatility: float | None) -> Decimal | str:
        """The limit on the tick, on the side that is better for the trader; in words why there is none."""
        long, close = signal.action == "long", bar.close
        limit = signal.limit_price
        if limit is None:
            assert signal.limit_distance is not None
            if volatility is None:
                return "limit_unknown: its limit is measured in volatility, for which too few unbroken bars are known"
            # A float's last digits must not reach a price.
            away = EXACT.multiply(close, Decimal(f"{signal.limit_distance * volatility:.6f}"))
            limit = EXACT.subtract(close, away) if long else EXACT.add(close, away)
        if not close <= EXACT.multiply(limit, _FAR) or not limit <= EXACT.multiply(close, _FAR):
            return (
                f"limit_out_of_reach: its limit {limit:f} is not within a factor of {_FAR} of the close "
                f"{close:f}; limit_price is a price, limit_distance in volatilities of one bar"
            )
        tick = self._instruments[bar.symbol].tick_size
        return max(floor_to(limit, tick) if long else ceil_to(limit, tick), tick)

    def _limited(self, draft: Order, limit: Decimal, signal: Signal, bar: Bar) -> Order:
        """The draft as a limit order."""
        until_ms = None
        if signal.valid_bars is not None:
            until_ms = draft.due_ms + signal.valid_bars * INTERVAL_MS[bar.interval]
        return replace(
            draft,
            type="limit",
            limit_price=limit,
            time_in_force=signal.time_in_force,
            valid_until_ms=until_ms,
        )

    def _refusal(
        self, bar: Bar, size: Decimal | None, why: str, *, long: bool, signal_id: int, reduces: bool = False
    ) -> Rejection:
        """An order of ``size`` (None: of a lot) that is not drafted, for ``why``: ``rule: words``."""
        quantity = size or self._instruments[bar.symbol].lot_size
        draft = self._draft(bar, quantity, reduce_only=reduces, signal_id=signal_id)
        refused = replace(draft, side="buy" if long else "sell", status="rejected", reason=why)
        rule, _, reason = why.partition(": ")
        return Rejection(order=refused, rule=rule, reason=reason)

    def _too_small(self, signal: Signal, money: Decimal, price: Decimal, lot: Decimal) -> tuple[Decimal, str]:
        """What ``money`` (quote currency) buys of less than a lot, and why an entry of it is not ordered."""
        digits = EXACT.divide_int(money, EXACT.multiply(price, _LAST_DIGIT))
        size = EXACT.multiply(digits, _LAST_DIGIT)
        if money:
            return size, f"lot_size: {money:f} buys {size:f}, less than the lot {lot:f}"
        if signal.size is not None:
            return size, "no_size: nothing is left of the equity"
        return size, f"no_size: {self._config.sizing} sizing gives it nothing: {self._no_size()}"

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
            type="market",
            limit_price=None,
            time_in_force="gtc",
            valid_until_ms=None,
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

    def _share(self, signal: Signal, bar: Bar, volatility: float | None) -> tuple[Decimal, str]:
        """What share of equity an entry takes, the largest position at most; and in words how a size was cut.

        0 where nothing says how much.
        """
        config, most = self._config, self._config.max_position_fraction
        if signal.size is not None:
            size = Decimal(f"{signal.size:.6f}")
            if size <= most:
                return size, ""
            return most, f"shortened: to {most:f} of equity, risk.max_position_fraction, of {signal.size:g}"
        if config.sizing == "fixed":
            return config.position_fraction, ""
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
        return min(Decimal(f"{share:.6f}"), most), ""

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
