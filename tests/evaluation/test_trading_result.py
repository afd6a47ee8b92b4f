import math
from decimal import Decimal

import numpy as np
import pytest

from bot.evaluation.trading_result import (
    BaselineCosts,
    baseline_result,
    permutation_p_value,
    positions_from,
    rates_within,
)
from bot.market import FundingRate
from bot.model.feature_table import feature_table
from tests.model.walks import START_MS, STEP_MS, from_closes, walk

ROWS = np.arange(400, 700)


def costs(position_fraction: float, cost_per_turnover: float) -> BaselineCosts:
    return BaselineCosts(position_fraction=position_fraction, cost_per_turnover=cost_per_turnover)


def test_buy_and_hold_earns_the_market_less_one_turn():
    table = feature_table(walk(700))
    found = baseline_result("held", table, ROWS, np.ones(300), costs=costs(1.0, 0.001), trials=1)
    grown = math.exp(table.log_close[699] - table.log_close[399])
    assert found.net_return == pytest.approx(grown - 1 - 0.001, abs=2e-3 * grown)
    assert found.costs == pytest.approx(0.001)
    assert (found.trades, found.exposure) == (1, 1.0)


def test_being_flat_earns_nothing_and_has_no_sharpe_ratio():
    found = baseline_result(
        "flat", feature_table(walk(700)), ROWS, np.zeros(300), costs=costs(1, 0.1), trials=1
    )
    assert (found.net_return, found.costs, found.max_drawdown, found.sharpe) == (0.0, 0.0, 0.0, None)


def test_a_side_is_held_from_the_bar_after_its_decision_for_its_whole_time():
    scored = np.array([400, 410, 420])
    sides = positions_from(
        np.array([1.0, -2.0, 0.1]), scored, np.arange(400, 430), hold_bars=10, min_forecast=np.full(3, 0.5)
    )
    assert sides.tolist() == [0.0, *[1.0] * 10, *[-1.0] * 10, *[0.0] * 9]


def test_a_forecast_older_than_its_holding_time_is_not_traded():
    scored = np.array([400, 440])
    sides = positions_from(
        np.array([1.0, 1.0]), scored, np.arange(400, 460), hold_bars=10, min_forecast=np.zeros(2)
    )
    assert sides[1:11].tolist() == [1.0] * 10
    assert sides[11:41].tolist() == [0.0] * 30


def test_positions_that_knew_the_future_have_a_low_p_value_and_random_ones_have_not():
    bars = walk(1_500)
    table = feature_table(bars)
    rows = np.arange(500, 1_500)
    moves = np.diff(table.log_close[499:])
    assert permutation_p_value(table, rows, np.sign(moves).astype(np.int64)) < 0.002
    blind = np.repeat(np.random.default_rng(5).integers(-1, 2, 100), 10)
    assert permutation_p_value(table, rows, blind) > 0.05
    assert permutation_p_value(table, rows, np.zeros(1_000, np.int64)) is None


def test_a_fall_is_measured_from_the_highest_point():
    closes = [*np.full(400, 100.0), *np.linspace(100, 200, 100), *np.linspace(200, 150, 100)]
    closes = [price * (1 + 1e-4 * (i % 2)) for i, price in enumerate(closes)]
    table = feature_table(from_closes(closes))
    rows = np.arange(400, 600)
    found = baseline_result("held", table, rows, np.ones(200), costs=costs(1.0, 0.0), trials=1)
    assert found.max_drawdown == pytest.approx(0.25, abs=0.001)


def rates_at(*bars: float, rate: str = "0.01") -> list[FundingRate]:
    """Settled at the beginning of a bar, or within it."""
    return [
        FundingRate(symbol="BTCUSDT", time_ms=int(START_MS + bar * STEP_MS), rate=Decimal(rate))
        for bar in bars
    ]


def test_a_rate_counts_for_what_is_held_just_before_it():
    table = feature_table(walk(700))
    end_ms = START_MS + 700 * STEP_MS
    settled = rates_at(0, 400, 500.5, 700, 701)
    sums = rates_within(table, settled, end_ms)
    # Bar 399 ends where 400 begins; nothing is held ahead of the first bar or behind the last.
    assert {int(i): float(sums[i]) for i in np.flatnonzero(sums)} == {399: 0.01, 500: 0.01, 699: 0.01}
    missing = feature_table([*walk(400), *walk(100, seed=2, first=500)])
    assert np.flatnonzero(rates_within(missing, rates_at(450), end_ms)).tolist() == [399]
    assert not rates_within(table, [], end_ms).any()


@pytest.mark.parametrize("side", [1.0, -1.0, 0.0])
def test_a_baseline_pays_funding_on_what_it_holds(side):
    table = feature_table(walk(700))
    rates = np.zeros(300)
    rates[100] = 0.01
    free, charged = (
        baseline_result(
            "rule", table, ROWS, np.full(300, side), costs=costs(0.5, 0.001), trials=1, rates=each
        )
        for each in (None, rates)
    )
    # Bar 500 is the hundred-and-first of those judged.
    value = 0.5 * side * math.exp(table.log_close[500] - table.log_close[499])
    assert free.funding == 0.0
    assert charged.funding == pytest.approx(-0.01 * value, abs=1e-12)
    earned = 1.0 + 0.5 * side * math.expm1(table.log_close[500] - table.log_close[499])
    assert charged.net_return == pytest.approx(
        (1 + free.net_return) * (1 - 0.01 * value / earned) - 1, rel=1e-9, abs=1e-12
    )
    assert charged.costs == free.costs
