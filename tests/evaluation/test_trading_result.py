import math
from decimal import Decimal

import numpy as np
import pytest

from bot.evaluation.trading_result import earned_by_rule, luck_of, rates_within, sides_of
from bot.market import FundingRate
from bot.model.feature_table import panel_of
from tests.model.walks import START_MS, STEP_MS, from_closes, walk

ROWS = np.arange(400, 700)


def test_buy_and_hold_earns_the_market_less_one_turn():
    panel = panel_of(walk(700))
    found = earned_by_rule("held", panel, ROWS, np.ones(300), fraction=1.0, cost=0.001, trials=1)
    grown = math.exp(panel.log_close[699] - panel.log_close[399])
    assert found.net_return == pytest.approx(grown - 1 - 0.001, abs=2e-3 * grown)
    assert found.costs == pytest.approx(0.001)
    assert (found.trades, found.exposure) == (1, 1.0)


def test_being_flat_earns_nothing_and_has_no_sharpe_ratio():
    found = earned_by_rule("flat", panel_of(walk(700)), ROWS, np.zeros(300), fraction=1, cost=0.1, trials=1)
    assert (found.net_return, found.costs, found.max_drawdown, found.sharpe) == (0.0, 0.0, 0.0, None)


def test_a_side_is_held_from_the_bar_after_its_decision_for_its_whole_time():
    scored = np.array([400, 410, 420])
    sides = sides_of(
        np.array([1.0, -2.0, 0.1]), scored, np.arange(400, 430), hold_bars=10, least=np.full(3, 0.5)
    )
    assert sides.tolist() == [0.0, *[1.0] * 10, *[-1.0] * 10, *[0.0] * 9]


def test_a_forecast_older_than_its_holding_time_is_not_traded():
    scored = np.array([400, 440])
    sides = sides_of(np.array([1.0, 1.0]), scored, np.arange(400, 460), hold_bars=10, least=np.zeros(2))
    assert sides[1:11].tolist() == [1.0] * 10
    assert sides[11:41].tolist() == [0.0] * 30


def test_positions_that_knew_the_future_are_no_luck_and_random_ones_are():
    bars = walk(1_500)
    panel = panel_of(bars)
    rows = np.arange(500, 1_500)
    moves = np.diff(panel.log_close[499:])
    assert luck_of(panel, rows, np.sign(moves).astype(np.int64)) < 0.002
    blind = np.repeat(np.random.default_rng(5).integers(-1, 2, 100), 10)
    assert luck_of(panel, rows, blind) > 0.05
    assert luck_of(panel, rows, np.zeros(1_000, np.int64)) is None


def test_a_fall_is_measured_from_the_highest_point():
    closes = [*np.full(400, 100.0), *np.linspace(100, 200, 100), *np.linspace(200, 150, 100)]
    closes = [price * (1 + 1e-4 * (i % 2)) for i, price in enumerate(closes)]
    panel = panel_of(from_closes(closes))
    rows = np.arange(400, 600)
    found = earned_by_rule("held", panel, rows, np.ones(200), fraction=1.0, cost=0.0, trials=1)
    assert found.max_drawdown == pytest.approx(0.25, abs=0.001)


def rates_at(*bars: float, rate: str = "0.01") -> list[FundingRate]:
    """Settled at the beginning of a bar, or within it."""
    return [
        FundingRate(symbol="BTCUSDT", time_ms=int(START_MS + bar * STEP_MS), rate=Decimal(rate))
        for bar in bars
    ]


def test_a_rate_counts_for_what_is_held_just_before_it():
    panel = panel_of(walk(700))
    end_ms = START_MS + 700 * STEP_MS
    settled = rates_at(0, 400, 500.5, 700, 701)
    sums = rates_within(panel, settled, end_ms)
    # Bar 399 ends where 400 begins; nothing is held ahead of the first bar or behind the last.
    assert {int(i): float(sums[i]) for i in np.flatnonzero(sums)} == {399: 0.01, 500: 0.01, 699: 0.01}
    missing = panel_of([*walk(400), *walk(100, seed=2, first=500)])
    assert np.flatnonzero(rates_within(missing, rates_at(450), end_ms)).tolist() == [399]
    assert not rates_within(panel, [], end_ms).any()


@pytest.mark.parametrize("side", [1.0, -1.0, 0.0])
def test_a_rule_pays_funding_on_what_it_holds(side):
    panel = panel_of(walk(700))
    rates = np.zeros(300)
    rates[100] = 0.01
    free, charged = (
        earned_by_rule(
            "rule", panel, ROWS, np.full(300, side), fraction=0.5, cost=0.001, trials=1, rates=each
        )
        for each in (None, rates)
    )
    # Bar 500 is the hundred-and-first of those judged.
    worth = 0.5 * side * math.exp(panel.log_close[500] - panel.log_close[499])
    assert free.funding == 0.0
    assert charged.funding == pytest.approx(-0.01 * worth, abs=1e-12)
    earned = 1.0 + 0.5 * side * math.expm1(panel.log_close[500] - panel.log_close[499])
    assert charged.net_return == pytest.approx(
        (1 + free.net_return) * (1 - 0.01 * worth / earned) - 1, rel=1e-9, abs=1e-12
    )
    assert charged.costs == free.costs
