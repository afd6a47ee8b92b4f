"""Figures of a stretch of trading, worked out by hand."""

from decimal import Decimal

import empyrical
import numpy as np
import pytest

from bot.trading.events import RoundTrip
from bot.trading.performance import (
    DAY_MS,
    EquityCurve,
    HeldEqually,
    performance_of,
    return_period_ms,
    sharpe,
    sortino,
)
from tests.factories import a_fill

HOUR_MS = 3_600_000


def a_trip(id: int, opened_s: int, closed_s: int | None, net: str = "0", **fields) -> RoundTrip:
    return RoundTrip(
        id=id,
        symbol="BTCUSDT",
        side="long",
        opened_ms=opened_s * 1000,
        closed_ms=None if closed_s is None else closed_s * 1000,
        realized_pnl=Decimal(net),
        **fields,
    )


def a_curve(*values: float) -> EquityCurve:
    """Of an account that began with 100, one figure a second."""
    curve = EquityCurve(0, values[0], values[0] / 100)
    for second, value in enumerate(values[1:], start=1):
        curve.add(second * 1000, value, value / 100)
    return curve


def test_a_still_account_has_no_rates():
    report = performance_of(a_curve(100))
    assert (report.total_return, report.max_drawdown, report.exposure) == (0, 0, 0)
    assert (report.hit_rate, report.profit_factor, report.round_trips) == (None, None, 0)


def test_drawdown_is_the_deepest_fall_from_a_peak():
    report = performance_of(a_curve(100, 120, 90, 110, 130, 117))
    assert report.total_return == pytest.approx(0.17)
    assert report.max_drawdown == pytest.approx(0.25)


def test_what_is_moved_in_or_out_is_neither_loss_nor_drawdown_for_a_unit_keeps_its_value():
    curve = EquityCurve(0, 100)
    for second, (equity, value) in enumerate(((110, 1.1), (60, 1.1), (66, 1.21), (93_066, 1.21)), start=1):
        curve.add(second * 1000, equity, value)
    report = performance_of(curve, transferred=92_950)
    assert (report.max_drawdown, report.transferred, report.end_equity) == (0, 92_950, 93_066)
    assert report.total_return == pytest.approx(0.21)


def test_what_was_lost_whole_stays_lost_and_what_follows_is_judged_anew():
    curve = EquityCurve(0, 100)
    for day, (equity, value) in enumerate(((50, 0.5), (-3, 0.0), (1000, 1.0), (1100, 1.1)), start=1):
        curve.add(day * DAY_MS, equity, value)
    assert (curve.total_return, curve.max_drawdown) == (-1.0, 1.0)
    assert curve.returns() == pytest.approx([-0.5, -1.0, 0.0, 0.1])


def test_round_trips_are_judged_by_their_net_and_the_time_that_any_was_open():
    trips = (a_trip(1, 1, 3, "6"), a_trip(2, 6, 7, "-1"), a_trip(3, 9, None, "50"), a_trip(4, 6, 7, "0"))
    report = performance_of(a_curve(*[100] * 11), trips=trips)
    assert (report.round_trips, report.hit_rate, report.profit_factor) == (3, pytest.approx(1 / 3), 6)
    # Open from 1 to 3, 6 to 7 and 9 to 10 of 10 seconds.
    assert report.exposure == pytest.approx(0.4)


def days(*values: float, hours: int = 12) -> EquityCurve:
    """A curve that begins with the first value and has the others at so many hours after each other."""
    curve = EquityCurve(0, values[0])
    for index, value in enumerate(values[1:], start=1):
        curve.add(index * hours * HOUR_MS, value, value / values[0])
    return curve


def test_returns_are_taken_from_day_to_day_and_a_close_at_midnight_ends_its_day():
    # Noon, midnight, noon, midnight, noon of the third day.
    assert days(100, 105, 110, 90, 121, 133.1).returns() == pytest.approx([0.1, 0.1, 0.1])


def test_days_in_which_nothing_was_written_have_no_return_but_count():
    curve = EquityCurve(0, 100)
    curve.add(DAY_MS, 110, 110 / 100)
    curve.add(4 * DAY_MS, 99, 99 / 100)
    assert curve.returns() == pytest.approx([0.1, 0, 0, -0.1])


def test_the_time_before_a_resumed_session_is_no_day_of_it():
    curve = EquityCurve(0, 100)
    curve.add(10 * DAY_MS, 110, 110 / 100)
    assert curve.returns() == pytest.approx([0.1])


def test_what_becomes_known_late_counts_when_it_is_known():
    curve = EquityCurve(0, 100)
    curve.add(2 * DAY_MS, 110, 110 / 100)
    curve.add(DAY_MS, 121, 121 / 100)
    assert (curve.end_ms, curve.returns()) == (2 * DAY_MS, pytest.approx([0.21]))


def test_turnover_is_what_was_traded_over_the_mean_equity():
    fills = [a_fill(1, price="50"), a_fill(2, side="sell", price="70")]
    assert performance_of(a_curve(100, 200, 300), fills).turnover == pytest.approx(120 / 200)


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
        curve.add(day * DAY_MS, value, value / 10_000.0)
    ours_sharpe, ours_sortino = sharpe(curve.returns(), DAY_MS), sortino(curve.returns(), DAY_MS)
    assert ours_sharpe is not None
    assert ours_sortino is not None
    year = {"annualization": 365.25}
    assert ours_sharpe.value == pytest.approx(empyrical.sharpe_ratio(returns, **year), rel=1e-9)
    assert ours_sortino.value == pytest.approx(empyrical.sortino_ratio(returns, **year), rel=1e-9)
    assert curve.max_drawdown == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
