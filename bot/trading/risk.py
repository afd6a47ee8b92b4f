"""The review of orders: which may be placed, and which rule turns the others into rejections."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.exact import EXACT, ZERO
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, Instrument, Quote
from bot.trading import limits
from bot.trading.account import AccountTrack
from bot.trading.brier_guard import BrierState, RollingBrierScore
from bot.trading.config import RiskConfig
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
from bot.trading.limits import RiskContext, Rule

_HOUR_MS = 3_600_000


class RiskState(Struct, frozen=True, kw_only=True):
    """What a :class:`RiskReview` resumes from.

    ``halt`` is the one in force, ``pauses`` likewise. ``ordered_ms`` are the times of the last hour's orders.
    ``cooling_ms`` is by symbol the last close at which nothing may be entered.
    """

    halt: Halt | None = None
    next_halt_id: int = 1
    last_resume_id: int = 0
    ordered_ms: tuple[int, ...] = ()
    cooling_ms: dict[str, int] = {}
    record: BrierState = BrierState()
    pauses: tuple[Pause, ...] = ()


NOTHING_YET = RiskState()
"""Where an account begins."""


class RiskReview:
    """Lets orders pass, or turns them into Rejections; a broken rule is never an exception.

    ``leverage`` says what a symbol's positions are held with, ``margin_rules`` what the account must
    have to back an entry.

    ``halts`` owns halts and pauses; cool-downs are kept here. It observes every bar, quote and round trip that
    ended, and checks the account's limits at each close.

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
        self.halts = Halts(
            state.halt,
            state.next_halt_id,
            state.pauses,
            max_daily_loss=config.max_daily_loss,
            max_drawdown=config.max_drawdown,
        )
        self._last_resume_id = state.last_resume_id
        self._ordered_ms = list(state.ordered_ms)
        self._cooling_ms = dict(state.cooling_ms)
        self._brier_score = RollingBrierScore(config.brier_guard_forecasts, state.record, calendar)
        self._changed = False
        self._newest_ms: dict[str, int] = {}
        self._contiguous: dict[str, int] = {}
        self._quoted_ms: dict[str, int] = {}
        exchange: dict[str, Rule] = {
            "lot_size": limits.lot_size,
            "min_quantity": limits.min_quantity,
            "min_notional": limits.min_notional,
            "max_market_quantity": limits.max_market_quantity,
        }
        self._partial_exit_rules: dict[str, Rule] = {"not_trading": limits.not_trading, **exchange}
        self._whole_exit_rules: dict[str, Rule] = {
            "not_trading": limits.not_trading,
            "max_market_quantity": limits.max_market_quantity,
        }
        self._entry_rules: dict[str, Rule] = {
            **self.halts.rules,
            "closing": limits.being_closed,
            "not_trading": limits.not_trading,
            "reduce_only": limits.reduce_only,
            "spot_short": limits.spot_short,
            "exits_unknown": limits.exits_unknown,
            "exit_out_of_reach": limits.exit_out_of_reach,
            "bar_gap": self._bar_gap,
            "stale_quote": self._stale_quote,
            "cooldown": self._cooldown,
            "brier_guard": self._brier_guard,
            **exchange,
            "max_position": limits.max_position(config.max_position_fraction),
            "max_total": limits.max_total(config.max_total_fraction),
            "max_leverage": limits.max_leverage(config.max_leverage, leverage),
            "spot_cash": limits.spot_cash,
            **margin_rules,
            "max_orders_per_hour": self._max_orders_per_hour,
        }

    def snapshot(self) -> RiskState:
        """Everything that the review resumes from, as a value."""
        return RiskState(
            halt=self.halts.halt,
            next_halt_id=self.halts.next_halt_id,
            last_resume_id=self._last_resume_id,
            ordered_ms=tuple(self._ordered_ms),
            cooling_ms=dict(self._cooling_ms),
            record=self._brier_score.snapshot(),
            pauses=self.halts.pauses,
        )

    def state_if_changed(self) -> RiskState | None:
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
        if symbol in self._brier_score.open and self._brier_score.mature(bar):
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
        """Take note of the forecast made at a bar's close; ``base_ratio`` is the memory's own fraction of rises."""
        if self._brier_score.add(signal, bar, base_ratio):
            self._changed = True

    def check_account_limits(self, bar: Bar, account: Equity, track: AccountTrack) -> Halt | None:
        """Compare the account's unit value at a bar's close with its limits: the halt that begins now, or None."""
        halt = self.halts.check_account_limits(bar, account, track)
        if halt is not None:
            self._changed = True
        return halt

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
        self._prune_order_times(context.bar.close_ms)
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

    def _prune_order_times(self, now_ms: int) -> None:
        if self._ordered_ms:
            self._ordered_ms = [time_ms for time_ms in self._ordered_ms if time_ms > now_ms - _HOUR_MS]

    def _bar_gap(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        needed = self._config.require_contiguous_bars
        found = self._contiguous.get(order.symbol, 0)
        if found >= needed:
            return None
        if needed == 1:
            return "the bar does not directly follow the one before it"
        return f"only {found} bars in a row, {needed} are required after a gap"

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

    def _brier_guard(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        return self._brier_score.worse_than_base_rate()

    def _max_orders_per_hour(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        limit = self._config.max_orders_per_hour
        if not limit or len(self._ordered_ms) < limit:
            return None
        return f"{len(self._ordered_ms)} orders were placed within the last hour, {limit} are allowed"


def _closing_quantity(order: Order, position: Position) -> Decimal:
    """How much of the order only reduces the position."""
    against = position.quantity < 0 if order.side == "buy" else position.quantity > 0
    return min(order.quantity, position.quantity.copy_abs()) if against else ZERO


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
