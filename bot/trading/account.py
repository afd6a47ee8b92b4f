"""The account's track: unit value, peaks, the day's start and round trips, as a fold over what is booked.

The account is kept as a fund is. It begins with as many units as it has money, worth 1 each; a transfer buys
or redeems units at the value just before it, so that no return, drawdown or limit ever moves by one. Unit
values are compared and shown, never booked, so they may be rounded: units to 40 significant digits, a unit's
value to 18, half to even, on any machine.

At the edges:

- An account at or below 0 is ruined: its units are void and worth 0. Once it is above 0 again, by whatever,
  it begins anew at 1.
- Where a withdrawal leaves nothing (or less), all units are redeemed and the value stands still. The next
  money buys units at that value.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from msgspec import Struct
from msgspec.structs import replace

from bot.exact import EXACT, ONE, ZERO
from bot.market import ALWAYS_OPEN, Bar, Calendar
from bot.market.times import DAY_MS
from bot.trading.events import Equity, FundingPayment, Order, RoundTrip
from bot.trading.ledger import Booked
from bot.trading.round_trips import LosingRun, RoundTrips

_UNITS = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
_VALUE = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
_divide = _VALUE.divide

_BEFORE_ALL = -(2**63)

_NO_NEWS: tuple[tuple[RoundTrip, ...], None] = ((), None)


class TrackState(Struct, frozen=True, kw_only=True):
    """What an :class:`AccountTrack` goes on from.

    ``value`` is the last unit value, ``peak`` the highest, ``guarded_peak`` the highest since a person last
    resumed: limits are measured by it. ``day`` counts UTC days since 1970, ``day_value`` is the unit value
    when it began. ``trips`` are the open ones, and ended ones that late funding may still reach; ``losing``
    counts those before, by symbol.
    """

    units: Decimal
    value: Decimal = ONE
    peak: Decimal = ONE
    guarded_peak: Decimal = ONE
    day: int | None = None
    day_value: Decimal = ONE
    next_trip_id: int = 1
    losing: dict[str, LosingRun] = {}
    trips: tuple[RoundTrip, ...] = ()


def began_with(equity: Decimal) -> TrackState:
    """The state of an account that begins with so much."""
    return TrackState(units=max(equity, ZERO))


def unit_value_of(equity: Decimal, units: Decimal) -> Decimal:
    """What one of so many units of an account is worth; 1 where that is not above 0."""
    return _divide(equity, units) if equity > 0 and units > 0 else ONE


def drawdown(value: Decimal, peak: Decimal) -> Decimal:
    """How far a unit value lies below a peak, as a fraction of it (0 to 1)."""
    return _VALUE.subtract(ONE, _divide(value, peak)) if value < peak else ZERO


class AccountTrack:
    """Sole owner of the account's units, unit value, peaks, day's start, round trips and losing runs.

    It is told of all that the ledger books, in that order, and of every closed bar; ``interval_ms`` is a
    bar's length.
    """

    def __init__(self, state: TrackState, interval_ms: int, calendar: Calendar = ALWAYS_OPEN) -> None:
        self._units = state.units
        # The equity that the last unit value is of, where the units have not changed since.
        self._equity: Decimal | None = None
        self.value = state.value
        """The last unit value."""
        self.peak = state.peak
        """The highest unit value."""
        self.guarded_peak = state.guarded_peak
        """The highest unit value since a person last resumed."""
        self.day = state.day
        """The UTC day of the last row, counted since 1970; None before the first."""
        self.day_value = state.day_value
        """The unit value when that day began."""
        self._day_ends_ms = _BEFORE_ALL if state.day is None else (state.day + 1) * DAY_MS
        self._trips = RoundTrips(state.trips, state.losing, state.next_trip_id, interval_ms, calendar)
        self.bars_held = self._trips.bars_held
        self.losing_run = self._trips.losing_run
        self.current_trip = self._trips.current
        self._changed = False

    def snapshot(self) -> TrackState:
        """Everything that the track goes on from, as a value."""
        return replace(self._figures(), trips=self._trips.kept)

    def news(self) -> tuple[tuple[RoundTrip, ...], TrackState | None]:
        """Trips that changed since this was last asked; and all else, without trips, where any of it did."""
        changed = self._trips.changed
        if not changed and not self._changed:
            return _NO_NEWS
        trips = tuple(changed.values())
        changed.clear()
        if not self._changed:
            return trips, None
        self._changed = False
        return trips, self._figures()

    def mark(self, row: Equity) -> Equity:
        """The account is worth this now, by no transfer: the row with its unit value."""
        return replace(row, unit_value=self.value_of(row.time_ms, row.equity))

    def value_of(self, time_ms: int, equity: Decimal) -> Decimal:
        """The account is worth this now, by no transfer: its unit value."""
        if time_ms > self._day_ends_ms:
            self._begin_day(time_ms)
        if equity is not self._equity:
            self._equity = equity
            value = _divide(equity, self._units) if equity > 0 and self._units else self._at_an_edge(equity)
            self.value = value
            if value > self.guarded_peak:
                self._rise(value)
        return self.value

    def close(self, bar: Bar) -> None:
        """A bar has closed; what the account is worth at it comes next."""
        self._trips.close(bar)

    def move(self, amount: Decimal, row: Equity) -> Equity:
        """Money came in, or went out (negative), and left ``row``: units change, their value does not."""
        before = EXACT.subtract(row.equity, amount)
        value = self.mark(replace(row, equity=before)).unit_value
        if row.equity <= 0:
            self._units = ZERO
        elif self._units:
            self._units = _UNITS.divide(_UNITS.multiply(self._units, row.equity), before)
        else:
            value = self._issue(row.equity)
        self._equity, self._changed = None, True
        return replace(row, unit_value=value)

    def book(
        self, booked: Booked, orders: Iterable[Order]
    ) -> tuple[tuple[Equity, ...], tuple[RoundTrip, ...]]:
        """Fills of ``orders`` were booked: the rows with their unit values, and the trips that ended."""
        by_id = {order.id: order for order in orders}
        ended: list[RoundTrip] = []
        for fill, position in zip(booked.fills, booked.positions, strict=True):
            # What follows one fill may be the first of the next trip.
            self._changed = True
            ended += self._trips.fill(fill, position, by_id.get(fill.order_id))
        return tuple(map(self.mark, booked.equity)), tuple(ended)

    def pay(self, payment: FundingPayment, row: Equity) -> tuple[Equity, RoundTrip | None]:
        """Funding was paid or received and left ``row``: that with its unit value, and the trip that it is of."""
        return self.mark(row), self._trips.pay(payment)

    def restart_limits(self) -> None:
        """Measure limits anew from the last unit value: the same loss must not halt the account again."""
        self.day_value = self.guarded_peak = self.value
        self._changed = True

    def _figures(self) -> TrackState:
        return TrackState(
            units=self._units,
            value=self.value,
            peak=self.peak,
            guarded_peak=self.guarded_peak,
            day=self.day,
            day_value=self.day_value,
            next_trip_id=self._trips.next_id,
            losing=dict(self._trips.losing),
        )

    def _begin_day(self, time_ms: int) -> None:
        # A close at midnight ends the day before.
        self.day, self.day_value = (time_ms - 1) // DAY_MS, self.value
        self._day_ends_ms = (self.day + 1) * DAY_MS
        self._changed = True

    def _rise(self, value: Decimal) -> None:
        self.guarded_peak = value
        self.peak = max(self.peak, value)
        self._changed = True

    def _at_an_edge(self, equity: Decimal) -> Decimal:
        """The unit value where no units are left, or the equity is not above 0."""
        if equity > 0:
            return self._issue(equity)
        if self._units:
            self._units, self._changed = ZERO, True
            return ZERO
        return self.value

    def _issue(self, equity: Decimal) -> Decimal:
        """Units for all of the equity, at the value that stands, or at 1 after a ruin."""
        if not self.value:
            self.value = self.peak = self.guarded_peak = self.day_value = ONE
        self._units, self._changed = _UNITS.divide(equity, self.value), True
        return self.value
