import math

import msgspec
import numpy as np
import pytest

from bot.model.calibration import CalibrationFit
from bot.model.forecast import forecast_from, sign_test_p_value
from bot.model.memory.moments import BaseRate
from tests.factories import a_neighbor

EVEN = BaseRate(moments=1_000, mean_move=0.0, mean_absolute_move=3.0, rise_rate=0.5)


def test_eight_of_ten_fair_coins_is_what_chance_does_one_time_in_nine():
    tail = sum(math.comb(10, heads) for heads in (0, 1, 2, 8, 9, 10)) / 2**10
    assert sign_test_p_value(8, 10, 0.5) == pytest.approx(tail)
    assert sign_test_p_value(2, 10, 0.5) == pytest.approx(tail)
    assert tail == pytest.approx(0.109, abs=1e-3)


@pytest.mark.parametrize("base_ratio", [0.5, 0.35, 0.8])
@pytest.mark.parametrize("draws", [1, 7, 32])
def test_chance_is_the_binomial_tail_for_whole_numbers(draws, base_ratio):
    def probability(rises):
        return math.comb(draws, rises) * base_ratio**rises * (1 - base_ratio) ** (draws - rises)

    for rises in range(draws + 1):
        above = sum(probability(i) for i in range(rises, draws + 1))
        below = sum(probability(i) for i in range(rises + 1))
        expected = min(1.0, 2 * min(above, below))
        assert sign_test_p_value(rises, draws, base_ratio) == pytest.approx(expected, rel=1e-9)


def test_chance_moves_smoothly_between_whole_numbers():
    draws = np.linspace(1.0, 32.0, 300)
    chances = [sign_test_p_value(float(n), float(n), 0.5) for n in draws]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] == 1.0
    assert (
        sign_test_p_value(8.5, 10.2, 0.5)
        < sign_test_p_value(8.0, 10.2, 0.5)
        < sign_test_p_value(7.0, 10.2, 0.5)
    )


def test_moments_that_lean_as_the_whole_memory_does_are_no_evidence():
    assert sign_test_p_value(8, 10, 0.8) == 1.0
    assert sign_test_p_value(10, 10, 1.0) == 1.0
    assert sign_test_p_value(0, 10, 0.0) == 1.0


def test_a_forecast_shrinks_to_the_base_rate_by_the_effective_number_of_episodes():
    base = BaseRate(moments=500, mean_move=-0.1, mean_absolute_move=3.0, rise_rate=0.4)
    neighbors = [a_neighbor(weight=0.25, forward_return=r) for r in (0.02, 0.01, 0.03, -0.02)]
    forecast = forecast_from(neighbors, base, prior_strength=8.0, volatility=0.01)
    assert forecast.effective_sample_size == pytest.approx(4.0)
    assert forecast.mean_return == pytest.approx((4 * 0.01 + 8 * -0.001) / 12)
    assert forecast.rise_probability == forecast.raw_probability == pytest.approx((4 * 0.75 + 8 * 0.4) / 12)
    assert forecast.expected_return == pytest.approx(
        0.01 * (-0.1 + 2 * (forecast.raw_probability - 0.4) * 3.0)
    )
    assert forecast.return_std == pytest.approx(np.std([0.02, 0.01, 0.03, -0.02]))
    assert (forecast.base_return, forecast.base_ratio) == (-0.001, 0.4)


def test_moments_count_by_their_weight_in_mean_spread_and_vote():
    near, far = a_neighbor(weight=0.8, forward_return=0.01), a_neighbor(weight=0.2, forward_return=-0.03)
    forecast = forecast_from([near, far], EVEN, prior_strength=0.0, volatility=0.01)
    assert forecast.mean_return == pytest.approx(0.8 * 0.01 - 0.2 * 0.03)
    assert forecast.return_std == pytest.approx(np.sqrt(0.8 * 0.2) * 0.04)
    assert forecast.raw_probability == pytest.approx(0.8)
    # An unweighted mean would say the opposite.
    assert forecast.mean_return > 0.0 > near.forward_return + far.forward_return


def test_one_dominant_neighbour_counts_as_little_more_than_one():
    neighbors = [a_neighbor(weight=0.91, forward_return=0.02)]
    neighbors += [a_neighbor(weight=0.01, forward_return=0.02) for _ in range(9)]
    forecast = forecast_from(neighbors, EVEN, prior_strength=8.0, volatility=0.01)
    assert 1.0 < forecast.effective_sample_size < 1.3
    assert forecast.p_value > 0.5
    assert forecast.rise_probability < 0.6


def test_what_followed_is_measured_in_its_own_time_s_volatility_and_told_in_today_s():
    calm = a_neighbor(weight=0.5, forward_return=0.01, volatility=0.005)
    wild = a_neighbor(weight=0.5, forward_return=-0.04, volatility=0.04)
    forecast = forecast_from([calm, wild], EVEN, prior_strength=0.0, volatility=0.01)
    assert forecast.mean_return == pytest.approx(0.01 * (2.0 - 1.0) / 2)
    assert forecast.return_std == pytest.approx(0.01 * 1.5)


def test_a_vote_is_believed_as_far_as_its_like_have_come_true():
    neighbors = [a_neighbor(weight=0.05, forward_return=r) for r in [0.01] * 18 + [-0.01] * 2]
    odds = 22 / 6
    for slope in (0.01, 0.5, 1.0, 2.0):
        told = forecast_from(neighbors, EVEN, 8.0, 0.01, CalibrationFit(vote_slope=slope, n_votes=100))
        assert told.raw_probability == pytest.approx(22 / 28)
        assert told.rising
        assert told.rise_probability == pytest.approx(odds**slope / (1 + odds**slope))
        assert told.expected_return == pytest.approx(0.01 * 3.0 * (2 * told.rise_probability - 1))


def test_one_wild_outcome_does_not_outweigh_what_all_others_say():
    neighbors = [a_neighbor(weight=0.1, forward_return=r) for r in [0.01] * 9 + [-0.5]]
    forecast = forecast_from(neighbors, EVEN, 8.0, 0.01)
    assert forecast.expected_return > 0.0 > forecast.mean_return


def test_a_tie_counts_half():
    neighbors = [a_neighbor(weight=0.5, forward_return=r) for r in (0.0, 0.01)]
    assert forecast_from(
        neighbors, EVEN, prior_strength=0.0, volatility=0.01
    ).rise_probability == pytest.approx(0.75)
    flat = [a_neighbor(weight=0.1, forward_return=0.0) for _ in range(10)]
    assert forecast_from(flat, EVEN, prior_strength=0.0, volatility=0.01).p_value == 1.0


def test_a_forecast_is_stored_under_the_names_that_it_was_first_stored_under():
    fit = CalibrationFit(vote_slope=1.0, n_votes=3)
    forecast = forecast_from([a_neighbor(weight=1.0, forward_return=0.01)], EVEN, 8.0, 0.01, fit)
    stored = msgspec.to_builtins(forecast)
    assert forecast.positive_ratio == forecast.rise_probability == stored["positive_ratio"]
    assert (stored["vote"], stored["chance"]) == (forecast.raw_probability, forecast.p_value)
    assert stored["belief"] == {"slope": 1.0, "votes": 3, "head": 0.0, "alike": 1.0}
    assert msgspec.convert(stored, type(forecast)) == forecast
