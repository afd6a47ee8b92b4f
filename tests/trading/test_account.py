"""The account's track beside a model in exact fractions, and round trips worked out by hand."""

from decimal import Context, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.trading.account import AccountTrack, TrackState, began_with, drawdown
from bot.trading.events import Equity, FundingPayment, Transfer
from bot.trading.ledger import Ledger
from tests.factories import START_MS, a_bar, a_fill, an_order

STEP_MS = 900_000
ROUNDED = Context(prec=18)
moves = st.decimals("-0.3", "0.3", places=4)
amounts = st.decimals("-20000", "90000", places=2)


def a_row(equity: Decimal, index: int = 0) -> Equity:
    return Equity(time_ms=START_MS + index * STEP_MS, cash=equity, unrealized_pnl=Decimal(0), equity=equity)


class Rational:
    """A fund in exact fractions: units, and what each is worth."""

    def __init__(self, equity: Fraction) -> None:
        self.units, self.value = equity, Fraction(1)

    def mark(self, equity: Fraction) -> None:
        if equity <= 0:
            if self.units:
                self.units = self.value = Fraction(0)
        elif self.units:
            self.value = equity / self.units
        else:
            # Units are bought at the value as it is stated.
            self.value = Fraction(rounded(self.value)) or Fraction(1)
            self.units = equity / self.value

    def move(self, amount: Fraction, equity: Fraction) -> None:
        self.mark(equity - amount)
        if equity <= 0:
            self.units = Fraction(0)
        elif self.units:
            self.units += amount / self.value
        else:
            self.mark(equity)


def rounded(value: Fraction) -> Decimal:
    return ROUNDED.divide(Decimal(value.numerator), Decimal(value.denominator))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.tuples(st.just("gain"), moves), st.tuples(st.just("moved"), amounts)), max_size=25)
)
def test_unit_values_are_those_of_a_rational_model_wherever_money_is_moved(events):
    track, model, equity = (
        AccountTrack(began_with(Decimal(10_000)), STEP_MS),
        Rational(Fraction(10_000)),
        Decimal(10_000),
    )
    for index, (what, figure) in enumerate(events):
        if what == "gain":
            # In money, so that an account may lose all and more.
            equity += figure * 20_000
            row = track.mark(a_row(equity, index))
            model.mark(Fraction(equity))
        else:
            equity += figure
            row = track.move(figure, a_row(equity, index))
            model.move(Fraction(figure), Fraction(equity))
        assert row.unit_value == track.value == rounded(model.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(moves, min_size=2, max_size=20), st.data())
def test_a_transfer_into_a_flat_account_changes_no_later_return(returns, data):
    place = data.draw(st.integers(0, len(returns)))
    amount = data.draw(st.decimals("-9000", "90000", places=2))
    plain, moved = (AccountTrack(began_with(Decimal(10_000)), STEP_MS) for _ in range(2))
    one = other = Fraction(10_000)
    for index, gain in enumerate([*returns, Decimal(0)]):
        if index == place and other + Fraction(amount) > 1:
            other += Fraction(amount)
            moved.move(amount, a_row(rounded(other), index))
        one, other = one * (1 + Fraction(gain)), other * (1 + Fraction(gain))
        plain.mark(a_row(rounded(one), index))
        moved.mark(a_row(rounded(other), index))
        # Equities are given to 18 digits.
        assert float(moved.value) == pytest.approx(float(plain.value), rel=1e-14)
        assert float(moved.guarded_peak) == pytest.approx(float(plain.guarded_peak), rel=1e-14)
        assert float(moved.day_value) == pytest.approx(float(plain.day_value), rel=1e-14)


def test_a_deposit_after_a_loss_moves_no_peak_and_twelve_per_cent_are_twelve_per_cent():
    track = AccountTrack(began_with(Decimal(10_000)), STEP_MS)
    track.move(Decimal(90_000), a_row(Decimal(100_000)))
    row = track.mark(a_row(Decimal(88_000), 1))
    assert (row.unit_value, drawdown(row.unit_value, track.peak)) == (Decimal("0.88"), Decimal("0.12"))


def test_what_was_withdrawn_whole_buys_units_at_the_value_that_stood():
    track = AccountTrack(began_with(Decimal(10_000)), STEP_MS)
    track.mark(a_row(Decimal(10_500)))
    track.move(Decimal(-10_500), a_row(Decimal(0), 1))
    assert track.mark(a_row(Decimal(0), 2)).unit_value == Decimal("1.05")
    track.move(Decimal(500), a_row(Decimal(500), 3))
    assert track.mark(a_row(Decimal(550), 4)).unit_value == Decimal("1.155")


def test_a_ruined_account_is_worth_nothing_until_it_begins_anew():
    track = AccountTrack(began_with(Decimal(10_000)), STEP_MS)
    assert track.mark(a_row(Decimal(-5))).unit_value == 0
    track.move(Decimal(3), a_row(Decimal(-2), 1))
    assert track.value == 0
    assert track.move(Decimal(1002), a_row(Decimal(1000), 2)).unit_value == 1
    assert (track.peak, track.day_value, track.guarded_peak) == (1, 1, 1)


def followed(*fills, orders=()) -> AccountTrack:
    track, ledger = AccountTrack(began_with(Decimal(10_000)), STEP_MS), Ledger(Decimal(10_000))
    for fill in fills:
        track.book(ledger.post([fill]), orders)
    return track


def paid(time_ms: int, amount: str) -> FundingPayment:
    one = Decimal(1)
    return FundingPayment(
        symbol="BTCUSDT", time_ms=time_ms, rate=one, mark_price=one, quantity=one, payment=Decimal(amount)
    )


def test_turning_over_ends_one_trip_and_begins_another_and_splits_the_fee():
    track = followed(
        a_fill(1, quantity="1", price="100", time_ms=START_MS),
        a_fill(2, side="sell", quantity="4", price="110", fee="4", time_ms=START_MS + STEP_MS),
        a_fill(3, quantity="3", price="100", time_ms=START_MS + 3 * STEP_MS),
    )
    first, second = track.news()[0]
    assert (first.side, first.net, first.fees, first.bars, first.exit_reason) == ("long", 9, 1, 1, "reversal")
    assert (second.side, second.net, second.fees, second.bars) == ("short", 27, 3, 2)
    assert (second.quantity, second.entry_notional, second.exit_notional) == (3, 330, 300)
    assert (second.adverse, second.favourable) == (0, Decimal("0.0909090909090909091"))


def test_excursions_are_seen_in_bars_that_lie_within_the_trip():
    track = followed(a_fill(1, quantity="2", price="100", time_ms=START_MS + 1))
    # It began within this bar, of which only the close came after.
    track.close(a_bar(0, open="90", high="130", low="80", close="101"))
    track.close(a_bar(1, open="101", high="112", low="95", close="100"))
    (trip,) = track.news()[0]
    assert (trip.adverse, trip.favourable) == (Decimal("0.05"), Decimal("0.12"))


def test_funding_that_is_known_after_its_position_ended_belongs_to_the_trip_that_held_it():
    hour = 3_600_000
    track = followed(
        a_fill(1, price="100", fee="0", time_ms=START_MS),
        a_fill(2, side="sell", price="101", fee="0", time_ms=START_MS + hour),
        a_fill(3, price="100", fee="0", time_ms=START_MS + hour + 1),
    )
    assert track.losing_run("BTCUSDT") == 0
    _, trip = track.pay(paid(START_MS + hour, "-5"), a_row(Decimal(9_996)))
    assert trip is not None
    assert (trip.id, trip.net, track.losing_run("BTCUSDT")) == (1, -4, 1)
    _, going = track.pay(paid(START_MS + 2 * hour, "-7"), a_row(Decimal(9_989)))
    assert going is not None
    assert (going.id, going.closed_ms, going.funding) == (2, None, -7)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"type": "stop_market"}, "stop"),
        ({"type": "take_profit"}, "target"),
        ({"type": "trailing_stop"}, "trailing_stop"),
        ({"parent_id": 1}, "time_stop"),
        ({"reduce_only": True, "reason": "halted: everything is sold"}, "halted"),
        ({"reduce_only": True, "reason": "closed by hand: enough"}, "closed by hand"),
        ({}, "decision"),
    ],
)
def test_a_trip_says_why_it_ended(order, reason):
    orders = (an_order(id=1, signal_id=7), an_order(id=2, side="sell", **order))
    track = followed(a_fill(1), a_fill(2, side="sell"), orders=orders)
    (trip,) = track.news()[0]
    assert (trip.exit_reason, trip.signal_id) == (reason, 7)


def test_a_track_goes_on_from_its_snapshot_as_if_it_had_not_stopped():
    fills = [a_fill(n, side="sell" if n % 3 == 0 else "buy", price=100 + n, fee="0.1") for n in range(1, 12)]
    whole, ledger = AccountTrack(began_with(Decimal(10_000)), STEP_MS), Ledger(Decimal(10_000))
    for number, fill in enumerate(fills):
        state = msgspec.json.decode(msgspec.json.encode(whole.snapshot()), type=TrackState)
        again = AccountTrack(state, STEP_MS)
        booked = ledger.post([fill])
        assert whole.book(booked, ()) == again.book(booked, ())
        if number == 5:
            ledger.transfer(Transfer(id=1, time_ms=START_MS, amount=Decimal(777), reason=""))
            row = ledger.equity(START_MS)
            assert whole.move(Decimal(777), row) == again.move(Decimal(777), row)
        assert whole.snapshot() == again.snapshot()
