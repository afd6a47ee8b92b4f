"""Figures of a stretch of trading, worked out by hand."""

from decimal import Decimal

import empyrical
import numpy as np
import pytest

from bot.trading.events import Equity, FundingPayment, Position, Transfer
from bot.trading.ledger import Ledger
from bot.trading.performance import (
    DAY_MS,
    EquityCurve,
    HeldEqually,
    RoundTrips,
    return_period_ms,
    round_trips,
    sharpe,
    sortino,
    summarize,
)
from tests.factories import a_fill

HOUR_MS = 3_600_000


def a_curve(*values: int) -> list[Equity]:
    return [
        Equity(time_ms=index * 1000, cash=Decimal(value), unrealized_pnl=Decimal(0), equity=Decimal(value))
        for index, value in enumerate(values)
    ]


def a_payment(time_ms: int, amount: str, symbol: str = "BTCUSDT") -> FundingPayment:
    one = Decimal(1)
    return FundingPayment(
        symbol=symbol, time_ms=time_ms, rate=one, mark_price=one, quantity=one, payment=Decimal(amount)
    )


def booked(*fills):
    return Ledger(Decimal(10000)).post(fills).fills


def test_nothing_happened_without_any_equity():
    assert summarize([]) is None


def test_a_still_account_has_no_rates():
    report = summarize(a_curve(100))
    assert report is not None
    assert (report.total_return, report.max_drawdown, report.exposure) == (0, 0, 0)
    assert (report.hit_rate, report.profit_factor, report.round_trips) == (None, None, 0)


def test_drawdown_is_the_deepest_fall_from_a_peak():
    report = summarize(a_curve(100, 120, 90, 110, 130, 117))
    assert report is not None
    assert report.total_return == pytest.approx(0.17)
    assert report.max_drawdown == pytest.approx(0.25)


def test_a_withdrawal_is_neither_loss_nor_drawdown():
    withdrawal = Transfer(id=1, time_ms=2000, amount=Decimal(-50), reason="rent")
    before = Transfer(id=2, time_ms=0, amount=Decimal(70), reason="in the first row already")
    report = summarize(a_curve(100, 110, 60, 66), transfers=[withdrawal, before])
    assert report is not None
    assert (report.max_drawdown, report.transferred, report.end_equity) == (0, -50, 66)
    assert report.total_return == pytest.approx(0.16)


def test_round_trips_are_judged_after_fees_and_funding():
    fills = booked(
        a_fill(1, price="100", fee="1", time_ms=1000),
        a_fill(2, side="sell", price="110", fee="1", time_ms=3000),
        a_fill(3, price="100", fee="1", time_ms=6000),
        a_fill(4, side="sell", price="101", fee="1", time_ms=7000),
        a_fill(5, price="100", fee="1", time_ms=9000),
    )
    report = summarize(a_curve(*[10000] * 11), fills, [a_payment(3000, "-2"), a_payment(6000, "-50")])
    assert report is not None
    # 10 - 2 fees - 2 funding = 6 won; 1 - 2 fees = 1 lost; what was paid while flat belongs to neither.
    assert (report.fills, report.round_trips) == (5, 2)
    assert report.hit_rate == 0.5
    assert report.profit_factor == pytest.approx(6.0)
    assert (report.realized_pnl, report.fees, report.funding) == (11, 5, -52)
    # Open from 1 to 3, 6 to 7 and 9 to 10 of 10 seconds.
    assert report.exposure == pytest.approx(0.4)


def test_turning_over_ends_one_trip_and_begins_another():
    fills = booked(
        a_fill(1, quantity="1", price="100", time_ms=1000),
        a_fill(2, side="sell", quantity="4", price="110", fee="4", time_ms=2000),
        a_fill(3, quantity="3", price="100", time_ms=3000),
    )
    first, second = round_trips(fills)
    assert (first.opened_ms, first.closed_ms, first.result) == (1000, 2000, 9)
    assert (second.opened_ms, second.closed_ms, second.result) == (2000, 3000, 27)


def test_trips_that_are_followed_as_they_happen_are_those_of_the_whole_history():
    fills = booked(
        a_fill(1, quantity="1", price="100", time_ms=1000),
        a_fill(2, side="sell", quantity="4", price="110", fee="4", time_ms=2000),
        a_fill(3, quantity="3", price="100", time_ms=3000),
        a_fill(4, quantity="1", price="100", time_ms=5000),
    )
    paid = a_payment(2500, "-7")
    trips = RoundTrips()
    ended = [trip for event in (*fills[:2], paid, *fills[2:]) if (trip := trips.add(event)) is not None]
    assert [*ended, *trips.open] == round_trips(fills, [paid])
    assert [trip.result for trip in ended] == [9, 20]


def test_funding_that_is_known_after_its_position_ended_counts_for_no_other():
    trips = RoundTrips()
    for fill in booked(
        a_fill(1, price="100", fee="0", time_ms=1000),
        a_fill(2, side="sell", price="110", fee="0", time_ms=3000),
        a_fill(3, price="100", fee="0", time_ms=4000),
    ):
        trips.add(fill)
    trips.add(a_payment(3000, "-5"))
    assert [trip.result for trip in trips.open] == [0]


def test_a_position_held_from_before_counts_with_what_it_brought_since():
    held = Position(symbol="BTCUSDT", quantity=Decimal(2), cost=Decimal(200), opened_ms=-5000)
    (sold,) = [a_fill(8, side="sell", quantity="2", price="90", time_ms=2000, realized_pnl=Decimal(-20))]
    report = summarize(a_curve(100, 100, 80, 80, 80), [sold], held=[held])
    assert report is not None
    assert (report.round_trips, report.hit_rate, report.profit_factor) == (1, 0, 0)
    assert report.exposure == 0.5


def test_two_symbols_open_at_once_are_exposed_once():
    fills = booked(
        a_fill(1, time_ms=1000),
        a_fill(2, symbol="ETHUSDT", time_ms=2000),
        a_fill(3, side="sell", time_ms=3000),
        a_fill(4, symbol="ETHUSDT", side="sell", time_ms=4000),
    )
    report = summarize(a_curve(*[10000] * 11), fills)
    assert report is not None
    assert report.exposure == pytest.approx(0.3)
    assert report.round_trips == 2


def days(*values: float, hours: int = 12) -> EquityCurve:
    """A curve that begins with the first value and has the others at so many hours after each other."""
    curve = EquityCurve(0, values[0])
    for index, value in enumerate(values[1:], start=1):
        curve.add(index * hours * HOUR_MS, value)
    return curve


def test_returns_are_taken_from_day_to_day_and_a_close_at_midnight_ends_its_day():
    # Noon, midnight, noon, midnight, noon of the third day.
    assert days(100, 105, 110, 90, 121, 133.1).returns() == pytest.approx([0.1, 0.1, 0.1])


def test_days_in_which_nothing_was_written_have_no_return_but_count():
    curve = EquityCurve(0, 100)
    curve.add(DAY_MS, 110)
    curve.add(4 * DAY_MS, 99)
    assert curve.returns() == pytest.approx([0.1, 0, 0, -0.1])


def test_the_time_before_a_resumed_session_is_no_day_of_it():
    curve = EquityCurve(0, 100)
    curve.add(10 * DAY_MS, 110)
    assert curve.returns() == pytest.approx([0.1])


def test_what_becomes_known_late_counts_when_it_is_known():
    curve = EquityCurve(0, 100)
    curve.add(2 * DAY_MS, 110)
    curve.add(DAY_MS, 121)
    assert (curve.end_ms, curve.returns()) == (2 * DAY_MS, pytest.approx([0.21]))


def test_a_deposit_is_no_return_of_its_day():
    deposit = Transfer(id=1, time_ms=DAY_MS + 5, amount=Decimal(100), reason="more")
    curve = EquityCurve(0, 100, [deposit])
    curve.add(DAY_MS, 110)
    curve.add(DAY_MS + 5, 210)
    curve.add(2 * DAY_MS, 231)
    curve.add(3 * DAY_MS, 254.1)
    # On the second day 21 were earned on the 110 that it began with.
    assert curve.returns() == pytest.approx([0.1, 21 / 110, 0.1])


def test_turnover_is_what_was_traded_over_the_mean_equity():
    report = summarize(a_curve(100, 200, 300), [a_fill(1, price="50"), a_fill(2, side="sell", price="70")])
    assert report is not None
    assert report.turnover == pytest.approx(120 / 200)


def test_long_stretches_are_judged_by_the_day_and_short_ones_by_the_bar():
    assert return_period_ms(29 * DAY_MS, HOUR_MS) == HOUR_MS
    assert return_period_ms(30 * DAY_MS, HOUR_MS) == DAY_MS
    assert return_period_ms(300 * DAY_MS, 7 * DAY_MS) == 7 * DAY_MS


SKEWED = (np.random.default_rng(5).gamma(2.0, 0.01, 4000) - 0.018) * 0.3


def test_sharpe_is_the_yearly_mean_over_the_yearly_sample_deviation():
    found = sharpe(SKEWED.tolist(), DAY_MS)
    assert found is not None
    assert found.value == pytest.approx(SKEWED.mean() / SKEWED.std(ddof=1) * np.sqrt(365.25))


def test_the_error_of_sharpe_follows_skew_and_kurtosis():
    found = sharpe(SKEWED.tolist(), DAY_MS)
    assert found is not None
    z = (SKEWED - SKEWED.mean()) / SKEWED.std()
    ratio = SKEWED.mean() / SKEWED.std()
    variance = 1 - ratio * (z**3).mean() + ratio**2 * ((z**4).mean() - 1) / 4
    assert found.standard_error == pytest.approx(np.sqrt(variance / len(z) * 365.25), rel=1e-3)


def test_the_errors_are_those_of_leaving_out_each_return_in_turn():
    few = SKEWED[:300]
    left_out = [np.delete(few, place) for place in range(len(few))]
    for ratio in (sharpe, sortino):
        found = ratio(few.tolist(), DAY_MS)
        again = np.array([ratio(rest.tolist(), DAY_MS).value for rest in left_out])
        jackknife = np.sqrt((len(few) - 1) * again.var())
        assert found is not None
        assert found.standard_error == pytest.approx(jackknife, rel=0.03)


def test_sortino_measures_by_losses_alone_spread_over_all_returns():
    found = sortino([0.02, -0.01, 0.03, -0.02], DAY_MS)
    assert found is not None
    assert found.value == pytest.approx(0.005 / np.sqrt((0.01**2 + 0.02**2) / 4) * np.sqrt(365.25))


def test_without_risk_there_is_no_ratio():
    assert sharpe([0.1], DAY_MS) is None
    assert sharpe([0.1, 0.1, 0.1], DAY_MS) is None
    assert sortino([0.1, 0.0, 0.2], DAY_MS) is None


def test_holding_buys_each_symbol_once_for_its_share_and_pays_the_fee():
    held = HeldEqually(("BTCUSDT", "ETHUSDT"), 1000.0, 0.01)
    assert held.value("BTCUSDT", 50.0) == pytest.approx(500 / 1.01 + 500)
    assert held.value("ETHUSDT", 20.0) == pytest.approx(1000 / 1.01)
    assert held.value("BTCUSDT", 100.0) == pytest.approx(1500 / 1.01)


def test_sharpe_sortino_and_drawdown_are_those_of_a_maintained_library():
    returns = np.random.default_rng(5).standard_t(4, 500) * 0.01 + 0.0005
    values = 10_000.0 * np.cumprod(1.0 + returns)
    curve = EquityCurve(0, 10_000.0)
    for day, value in enumerate(values.tolist(), start=1):
        curve.add(day * DAY_MS, value)
    ours_sharpe, ours_sortino = sharpe(curve.returns(), DAY_MS), sortino(curve.returns(), DAY_MS)
    assert ours_sharpe is not None
    assert ours_sortino is not None
    year = {"annualization": 365.25}
    assert ours_sharpe.value == pytest.approx(empyrical.sharpe_ratio(returns, **year), rel=1e-9)
    assert ours_sortino.value == pytest.approx(empyrical.sortino_ratio(returns, **year), rel=1e-9)
    assert curve.max_drawdown == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
