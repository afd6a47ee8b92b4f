"""What may not be ordered, and why; and when everything is sold until a person says to go on."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from bot.exact import EXACT, ZERO, is_multiple, require_within
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, Instrument, Quote
from bot.market.times import DAY_MS, date_text
from bot.trading.account import AccountTrack, drawdown
from bot.trading.events import (
    Equity,
    Halt,
    Order,
    Pause,
    Position,
    Rejection,
    Resume,
    RoundTrip,
    Signal,
)
from bot.trading.halts import Halts
from bot.trading.limits import RiskContext, Rule, being_closed, not_trading
from bot.trading.reliability import TrackRecord, TrackRecordState

_HOUR_MS = 3_600_000


class RiskConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[risk]`` of the configuration. Fractions are shares of equity.

    Size. ``sizing`` says what an entry takes: ``fixed``, ``position_fraction``; ``volatility``, as
    much as moves the account by ``volatility_target`` a year (one standard deviation); ``kelly``,
    ``kelly_fraction`` of the expected return over its variance. None takes more than
    ``max_position_fraction``.

    Limits on entries. What one symbol (``max_position_fraction``) and all together
    (``max_total_fraction``) may come to; the leverage that a symbol may be held with
    (``max_leverage``, 0: any). A quote no older than ``max_quote_age_bars`` bars before the decision
    (0: any or none), and ``require_contiguous_bars`` bars, its own the last, that each directly
    followed their predecessor (0: a hole does not matter). At most ``max_orders_per_hour`` orders
    (0: any number). After ``cooldown_losses`` losing round trips in a row (0: never) no entry into
    that symbol for ``cooldown_bars`` bars. None while confidence as stated did worse than the base
    rate over the last ``brier_guard_forecasts`` predictions (0: it does not matter).

    Limits on the account. At a close at which the account's unit value, which no transfer moves, is
    ``max_daily_loss`` below what it was when the UTC day began, or ``max_drawdown`` below its highest (0: no
    limit), everything is sold and nothing entered until a person resumes.
    """

    sizing: Literal["fixed", "volatility", "kelly"] = "fixed"
    position_fraction: Decimal = Decimal("0.2")
    volatility_target: Annotated[float, Meta(ge=0.001, le=10)] = 0.2
    kelly_fraction: Annotated[float, Meta(ge=0.001, le=1)] = 0.25
    max_position_fraction: Decimal = Decimal("0.5")
    max_total_fraction: Decimal = Decimal("1.0")
    max_leverage: Decimal = Decimal("0")
    max_quote_age_bars: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    require_contiguous_bars: Annotated[int, Meta(ge=0, le=100_000)] = 1
    max_orders_per_hour: Annotated[int, Meta(ge=0, le=100_000)] = 0
    cooldown_losses: Annotated[int, Meta(ge=0, le=1000)] = 0
    cooldown_bars: Annotated[int, Meta(ge=1, le=100_000)] = 24
    brier_guard_forecasts: Annotated[int, Meta(ge=0, le=10_000)] = 100
    max_daily_loss: Decimal = Decimal("0.1")
    max_drawdown: Decimal = Decimal("0.3")

    def __post_init__(self) -> None:
        require_within("position_fraction", self.position_fraction, "0.0001", "100")
        require_within("max_position_fraction", self.max_position_fraction, "0.0001", "100")
        require_within("max_total_fraction", self.max_total_fraction, "0.0001", "100")
        require_within("max_leverage", self.max_leverage, "0", "200")
        require_within("max_daily_loss", self.max_daily_loss, "0", "1")
        require_within("max_drawdown", self.max_drawdown, "0", "1")
        if self.sizing == "fixed" and self.position_fraction > self.max_position_fraction:
            raise ValueError(
                f"position_fraction {self.position_fraction} is above max_position_fraction "
                f"{self.max_position_fraction}: no entry would ever pass"
            )


class RiskState(Struct, frozen=True, kw_only=True):
    """What a :class:`RiskReview` goes on from.

    ``halt`` is the one in force, ``pauses`` likewise. ``ordered_ms`` are the times of the last hour's orders.
    ``cooling_ms`` is by symbol the last close at which nothing may be entered.
    """

    halt: Halt | None = None
    next_halt_id: int = 1
    last_resume_id: int = 0
    ordered_ms: tuple[int, ...] = ()
    cooling_ms: dict[str, int] = {}
    record: TrackRecordState = TrackRecordState()
    pauses: tuple[Pause, ...] = ()


NOTHING_YET = RiskState()
"""Where an account begins."""


class RiskReview:
    """Lets orders pass, or turns them into Rejections; a broken rule is never an exception.

    ``leverage`` says what a symbol's positions are held with, ``margin_rules`` what the account must
    have to back an entry.

    Halts and pauses stand in ``halts``; cool-downs, here. It is told of every bar, quote and round trip
    that ended, and judges the account's track at each close.

    Rules for entries do not stop exits: where they stop an order that would reverse a position,
    its closing part still passes. What closes a whole position may also be smaller than the
    exchange's minimum, and off its lots.
    """

    def __init__(
        self,
        config: RiskConfig,
        instruments: Mapping[str, Instrument],
        state: RiskState = NOTHING_YET,
        *,
        leverage: Callable[[str], Decimal] = lambda symbol: Decimal(1),
        margin_rules: Mapping[str, Rule] = {},
        calendar: Calendar = ALWAYS_OPEN,
    ) -> None:
        self._config = config
        self._calendar = calendar
        self._instruments = instruments
        self._leverage = leverage
        self.halts = Halts(state.halt, state.next_halt_id, state.pauses)
        self._last_resume_id = state.last_resume_id
        self._ordered_ms = list(state.ordered_ms)
        self._cooling_ms = dict(state.cooling_ms)
        self._record = TrackRecord(config.brier_guard_forecasts, state.record, calendar)
        # What must be left of a unit's value; without a limit, anything.
        limits = (config.max_daily_loss, config.max_drawdown)
        self._daily_rest, self._drawdown_rest = (
            EXACT.subtract(1, limit) if limit else ZERO for limit in limits
        )
        # What the limits were last measured by, and the unit value at which the nearer one is reached.
        self._day_value: Decimal | None = None
        self._peak: Decimal | None = None
        self._floor = ZERO
        self._changed = False
        self._newest_ms: dict[str, int] = {}
        self._contiguous: dict[str, int] = {}
        self._quoted_ms: dict[str, int] = {}
        exchange: dict[str, Rule] = {
            "lot_size": _lot_size,
            "min_quantity": _min_quantity,
            "min_notional": _min_notional,
            "max_market_quantity": _max_market_quantity,
        }
        self._partial_exit_rules: dict[str, Rule] = {"not_trading": not_trading, **exchange}
        self._whole_exit_rules: dict[str, Rule] = {
            "not_trading": not_trading,
            "max_market_quantity": _max_market_quantity,
        }
        self._entry_rules: dict[str, Rule] = {
            **self.halts.rules,
            "closing": being_closed,
            "not_trading": not_trading,
            "reduce_only": _reduce_only,
            "spot_short": _spot_short,
            "exits_unknown": _exits_unknown,
            "exit_out_of_reach": _exit_out_of_reach,
            "hole_in_bars": self._hole_in_bars,
            "stale_quote": self._stale_quote,
            "cooldown": self._cooldown,
            "stand_down": self._stand_down,
            **exchange,
            "max_position": self._max_position,
            "max_total": self._max_total,
            "max_leverage": self._max_leverage,
            "spot_cash": _spot_cash,
            **margin_rules,
            "max_orders_per_hour": self._max_orders_per_hour,
        }

    def snapshot(self) -> RiskState:
        """Everything that the review goes on from, as a value."""
        return RiskState(
            halt=self.halts.halt,
            next_halt_id=self.halts.next_halt_id,
            last_resume_id=self._last_resume_id,
            ordered_ms=tuple(self._ordered_ms),
            cooling_ms=dict(self._cooling_ms),
            record=self._record.snapshot(),
            pauses=self.halts.pauses,
        )

    def news(self) -> RiskState | None:
        """The snapshot where it has changed since this was last asked, else None."""
        if not self._changed:
            return None
        self._changed = False
        return self.snapshot()

    def observe(self, bar: Bar) -> None:
        """Take note of a closed bar, in order, before anything is decided on it."""
        symbol, start_ms = bar.symbol, self._calendar.clock_ms(bar.start_ms)
        if self._newest_ms.get(symbol) == start_ms - INTERVAL_MS[bar.interval]:
            self._contiguous[symbol] += 1
        else:
            self._contiguous[symbol] = 0
        self._newest_ms[symbol] = start_ms
        if symbol in self._record.open and self._record.mature(bar):
            self._changed = True

    def observe_quote(self, quote: Quote) -> None:
        """Take note that a symbol was quoted."""
        self._quoted_ms[quote.symbol] = quote.time_ms

    def observe_trip(self, trip: RoundTrip, losing_run: int, interval_ms: int) -> None:
        """Take note of a round trip that ended, or got late funding, as the symbol's last ``losing_run`` ones lost."""
        needed = self._config.cooldown_losses
        if needed and trip.closed_ms is not None and trip.net < 0 and losing_run and losing_run % needed == 0:
            began_ms = self._calendar.clock_ms(trip.closed_ms)
            until_ms = began_ms + self._config.cooldown_bars * interval_ms
            self._cooling_ms[trip.symbol] = max(until_ms, self._cooling_ms.get(trip.symbol, until_ms))
            self._changed = True

    def observe_signal(self, signal: Signal, bar: Bar, base_ratio: float | None) -> None:
        """Take note of what was claimed at a bar's close; ``base_ratio`` is the memory's own share of rises."""
        if self._record.claim(signal, bar, base_ratio):
            self._changed = True

    def judge(self, bar: Bar, account: Equity, track: AccountTrack) -> Halt | None:
        """Judge the account, as it is worth at a bar's close: the halt that begins now, or None."""
        if track.day_value is not self._day_value or track.guarded_peak is not self._peak:
            self._day_value, self._peak = track.day_value, track.guarded_peak
            self._floor = max(
                EXACT.multiply(self._day_value, self._daily_rest),
                EXACT.multiply(self._peak, self._drawdown_rest),
            )
        if account.unit_value > self._floor:
            return None
        # A bar that is no longer the newest tells of a time at which nobody could act.
        if self.halts.halt is not None or bar.late:
            return None
        rule, reason = "max_daily_loss", _fallen(account, track.day_value, self._config.max_daily_loss)
        if reason is not None:
            assert track.day is not None
            reason += f" when {date_text(track.day * DAY_MS)} began"
        else:
            rule, reason = "max_drawdown", _fallen(account, track.guarded_peak, self._config.max_drawdown)
            if reason is None:
                return None
            reason += " at its highest"
        self._changed = True
        return self.halts.begin(rule, reason, account.time_ms)

    @property
    def halt(self) -> Halt | None:
        """The halt in force, or None."""
        return self.halts.halt

    def pause(self, pause: Pause) -> Pause:
        """Let nothing be entered; the pause in force, which is an older one where there was one already."""
        self._changed = True
        return self.halts.pause(pause)

    def resume(self, resume: Resume) -> tuple[Halt | None, tuple[Pause, ...]]:
        """A person's leave to go on: the halt and the pauses that it ended.

        A request that was granted before changes nothing.
        """
        if resume.id <= self._last_resume_id:
            return None, ()
        self._last_resume_id, self._changed = resume.id, True
        return self.halts.resume(resume)

    def review(
        self, orders: Iterable[Order], context: RiskContext
    ) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
        """Orders that may be placed, and the others with the first rule that each breaks.

        A reversal that may not enter comes back in both: its close passes, its entry is rejected.
        The stops and targets of an entry share its fate, without a rejection of their own.
        """
        self._forget_orders(context.bar.close_ms)
        passed: list[Order] = []
        rejections: list[Rejection] = []
        entered = False
        for order in orders:
            if order.parent_id is not None:
                if entered:
                    passed.append(order)
                continue
            entered = False
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
                    self._pass(order, passed)
                    entered = True
                    continue
                rejections.append(_rejection(replace(order, quantity=entering), *broken, context))
                if not closing:
                    continue
                order = replace(order, quantity=closing, reduce_only=True)
            whole = closing == context.position.quantity.copy_abs()
            rules = self._whole_exit_rules if whole else self._partial_exit_rules
            broken = _first_broken(rules, order, context, instrument)
            if broken is None:
                self._pass(order, passed)
            else:
                rejections.append(_rejection(order, *broken, context))
        return tuple(passed), tuple(rejections)

    def _pass(self, order: Order, passed: list[Order]) -> None:
        passed.append(order)
        if self._config.max_orders_per_hour:
            self._ordered_ms.append(order.created_ms)
            self._changed = True

    def _forget_orders(self, now_ms: int) -> None:
        if self._ordered_ms:
            self._ordered_ms = [time_ms for time_ms in self._ordered_ms if time_ms > now_ms - _HOUR_MS]

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

    def _cooldown(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        bar, until_ms = context.bar, self._cooling_ms.get(order.symbol)
        if until_ms is None or self._calendar.clock_ms(bar.close_ms) > until_ms:
            return None
        return (
            f"{self._config.cooldown_losses} losing round trips in a row: no entry before "
            f"{self._calendar.until_text(until_ms, bar.close_ms, bar.interval)} has passed"
        )

    def _stand_down(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        return self._record.worse_than_base()

    def _max_orders_per_hour(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        limit = self._config.max_orders_per_hour
        if not limit or len(self._ordered_ms) < limit:
            return None
        return f"{len(self._ordered_ms)} orders were placed within the last hour, {limit} are allowed"

    def _max_leverage(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        limit, leverage = self._config.max_leverage, self._leverage(order.symbol)
        if not limit or instrument.category == "spot" or leverage <= limit:
            return None
        return f"it would be held with leverage {leverage:f}, above {limit:f}"

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


def _exits_unknown(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if not context.exits_unknown:
        return None
    return "its stop or target is measured in volatility, for which too few unbroken bars are known"


def _exit_out_of_reach(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    price = order.limit_price or context.bar.close
    for exit in context.exits:
        below = (exit.side == "sell") != (exit.type == "take_profit")
        if below and exit.distance is not None and exit.distance >= price:
            return (
                f"its {exit.type} lies {exit.distance:f} below a price of {price:f}, where none ever comes; "
                "distances are in volatilities of one bar"
            )
    return None


def _lot_size(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if is_multiple(order.quantity, instrument.lot_size):
        return None
    return f"quantity {order.quantity:f} is not a multiple of the lot {instrument.lot_size:f}"


def _min_quantity(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    if order.quantity > 0 and order.quantity >= instrument.min_quantity:
        return None
    return f"quantity {order.quantity:f} is below the minimum {instrument.min_quantity:f}"


def _min_notional(order: Order, context: RiskContext, instrument: Instrument) -> str | None:
    value = EXACT.multiply(order.quantity, order.limit_price or context.bar.close)
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
    value = EXACT.multiply(order.quantity, order.limit_price or context.bar.close)
    if value <= context.spendable:
        return None
    return f"an order worth {value:f} is above the spendable cash, {context.spendable:f}"


def _closing_quantity(order: Order, position: Position) -> Decimal:
    """How much of the order only reduces the position."""
    against = position.quantity < 0 if order.side == "buy" else position.quantity > 0
    return min(order.quantity, position.quantity.copy_abs()) if against else ZERO


def _value_after(order: Order, context: RiskContext) -> Decimal:
    """What the position is worth at the order's limit, else the close, once it fills, its sign aside."""
    change = order.quantity if order.side == "buy" else EXACT.minus(order.quantity)
    price = order.limit_price or context.bar.close
    return EXACT.multiply(EXACT.add(context.position.quantity, change), price).copy_abs()


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


def _fallen(account: Equity, before: Decimal, share: Decimal) -> str | None:
    """How far a unit has fallen below ``before``, in words, where that is ``share`` of it or more."""
    value = account.unit_value
    if not share or value > EXACT.multiply(before, EXACT.subtract(1, share)):
        return None
    # In money of now: what the units that there are would be worth at the value before.
    was = f"the {account.equity * before / value:.2f}" if value else "its worth"
    return (
        f"equity {account.equity:.2f} is {drawdown(value, before):.2%} (the limit is {share:.2%}) below {was}"
    )
