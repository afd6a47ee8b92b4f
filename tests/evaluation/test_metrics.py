import math
from statistics import NormalDist

import numpy as np
import pytest

from bot.evaluation.metrics import (
    best_of_trials_sharpe,
    calibrated_error_limit,
    calibration_error,
    calibration_errors,
    correlation,
    correlation_gain,
    correlation_interval,
    crps,
    deflated_sharpe,
    gain_interval,
    learned_mixture,
    mean_interval,
    normal_quantiles,
    probabilistic_sharpe,
    ranks,
    weighted_quantiles,
)
from bot.performance.calibration_report import CalibrationCounter, Claim


def drawn(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def test_correlation_is_that_of_numpy_at_any_scale():
    x, y = drawn(1, 500), drawn(2, 500)
    y += 0.5 * x
    expected = np.corrcoef(x, y)[0, 1]
    assert correlation(x, y) == pytest.approx(expected, abs=1e-12)
    assert correlation(1e-9 * x, 1e9 * y + 5.0) == pytest.approx(expected, abs=1e-9)


def test_a_forecast_that_never_varies_has_no_correlation():
    assert math.isnan(correlation(np.full(50, 0.3), drawn(1, 50)))
    assert math.isnan(correlation(drawn(1, 2), drawn(2, 2)))


def test_ranks_of_equal_values_share_their_mean():
    assert ranks(np.array([30.0, 10.0, 30.0, 20.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_rank_correlation_is_spearmans():
    x, y = drawn(3, 80), drawn(4, 80)
    distance = ((ranks(x) - ranks(y)) ** 2).sum()
    assert correlation(ranks(x), ranks(y)) == pytest.approx(1 - 6 * distance / (80 * (80**2 - 1)), abs=1e-12)


def test_the_interval_of_independent_rows_is_as_wide_as_theory_says():
    n = 4_000
    interval = correlation_interval(drawn(1, n), drawn(2, n), np.arange(n), 1)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / math.sqrt(n), rel=0.15)


def test_blocks_show_that_overlapping_outcomes_are_less_evidence():
    n, horizon = 6_000, 24
    outcome = np.convolve(drawn(1, n + horizon - 1), np.ones(horizon), "valid")
    forecast = np.convolve(drawn(2, n + horizon - 1), np.ones(horizon), "valid")
    naive = correlation_interval(forecast, outcome, np.arange(n), 1)
    honest = correlation_interval(forecast, outcome, np.arange(n), 2 * horizon)
    assert honest.high - honest.low > 2.5 * (naive.high - naive.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_claims():
    covered = 0
    for seed in range(100):
        x = drawn(seed, 400)
        y = 0.3 * x + math.sqrt(1 - 0.09) * drawn(1000 + seed, 400)
        interval = correlation_interval(x, y, np.arange(400), 5)
        covered += interval.low <= 0.3 <= interval.high
    assert 86 <= covered <= 99


def test_one_block_alone_has_no_interval():
    interval = mean_interval(np.array([1.0, 2.0, 3.0]), np.arange(3), 10)
    assert interval.value == 2.0
    assert math.isnan(interval.low)


def test_no_forecast_gains_on_itself_and_a_better_one_gains():
    x, y, places = drawn(1, 900), drawn(2, 900), np.arange(900)
    outcome = x + y
    same = correlation_gain(x, x, outcome, places, 10)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert correlation_gain(x, drawn(3, 900), outcome, places, 10).low > 0.5


def test_the_gain_of_a_loss_is_its_share_of_the_baselines():
    loss = np.abs(drawn(1, 300))
    gain = gain_interval(0.9 * loss, loss, np.arange(300), 10)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))


def test_quantiles_of_equal_weights_are_those_of_the_middles():
    values = np.array([[4.0, 1.0, 3.0, 2.0]])
    found = weighted_quantiles(values, np.full((1, 4), 0.25), np.array([0.125, 0.5, 0.875]))
    assert found[0].tolist() == [1.0, 2.5, 4.0]


def test_a_sample_without_weight_moves_no_quantile():
    values, weights = np.array([[1.0, 2.0, 1e9]]), np.array([[0.5, 0.5, 0.0]])
    assert weighted_quantiles(values, weights, np.array([0.9])).tolist() == [[2.0]]


def test_crps_of_a_normal_forecast_is_its_closed_form():
    levels = (np.arange(2000) + 0.5) / 2000
    outcome = np.array([-1.3, 0.0, 0.7])
    found = crps(normal_quantiles(np.full(3, 2.0), levels), outcome, levels)
    normal = NormalDist()
    z = outcome / 2.0
    expected = [
        2.0 * (v * (2 * normal.cdf(v) - 1) + 2 * normal.pdf(v) - 1 / math.sqrt(math.pi)) for v in z.tolist()
    ]
    assert found == pytest.approx(expected, rel=2e-3)


def test_the_true_distribution_scores_better_than_a_wrong_one():
    outcome = drawn(5, 5_000)
    ones = np.ones(5_000)
    true = crps(normal_quantiles(ones), outcome).mean()
    assert true < crps(normal_quantiles(1.5 * ones), outcome).mean()
    assert true < crps(normal_quantiles(ones) + 0.4, outcome).mean()


def test_the_calibration_error_is_that_of_the_reports():
    rng = np.random.default_rng(1)
    predicted = rng.random(400)
    realized = (rng.random(400) < 0.5).astype(float)
    count = CalibrationCounter()
    for i, (p, right) in enumerate(zip(predicted.tolist(), realized.tolist(), strict=True)):
        count.add(Claim(symbol="BTCUSDT", start_ms=i, end_ms=i + 1, confidence=p, right=bool(right)))
    ece = count.result().ece
    assert ece is not None
    assert calibration_error(predicted, realized) == pytest.approx(ece, abs=1e-12)
    assert ece > 0.2


def test_a_mixture_learns_from_what_is_over_whom_to_believe():
    rng = np.random.default_rng(4)
    n, horizon_bars = 12_000, 24
    places = np.cumsum(rng.integers(1, 4, n))
    signal, outcome = rng.standard_normal(n), rng.standard_normal(n)
    outcome += signal
    told = normal_quantiles(np.ones(n))
    knowing, ignorant = told + signal[:, None], normal_quantiles(np.full(n, math.sqrt(2.0)))
    mixed = learned_mixture(knowing, ignorant, outcome, places, horizon_bars)
    late = slice(n - 2_000, n)
    losses = [crps(each[late], outcome[late]).mean() for each in (knowing, ignorant, mixed)]
    assert losses[0] <= losses[2] < losses[1]
    assert losses[2] - losses[0] < 0.2 * (losses[1] - losses[0])
    # The same two the other way round are mixed alike.
    assert np.allclose(learned_mixture(ignorant, knowing, outcome, places, horizon_bars), mixed)


def test_a_mixture_begins_with_equal_parts_and_knows_nothing_of_what_is_not_over():
    rng = np.random.default_rng(5)
    n, horizon_bars = 3_000, 24
    places = 2 * np.arange(n) + 5
    ours, baseline = np.sort(rng.standard_normal((2, n, 19)), axis=2)
    outcome = rng.standard_normal(n)
    mixed = learned_mixture(ours, baseline, outcome, places, horizon_bars)
    assert np.allclose(mixed[:12], (ours[:12] + baseline[:12]) / 2.0)
    assert not np.allclose(mixed[12:], (ours[12:] + baseline[12:]) / 2.0)
    poisoned = outcome.copy()
    poisoned[1_000:] = 1e6
    again = learned_mixture(ours, baseline, poisoned, places, horizon_bars)
    # Row 1000's outcome is over 12 rows later.
    assert np.array_equal(again[:1_012], mixed[:1_012])
    assert not np.array_equal(again[1_012], mixed[1_012])


def test_a_mixture_is_drawn_to_equal_parts_as_by_a_thousand_rows_more():
    # A loss of 1 with the baseline at -1, of 2 with ours at 2, of a half between: a parabola with its least at 0.375.
    n = 3_000
    ours, baseline = np.full((n, 19), 2.0), np.full((n, 19), -1.0)
    known = np.arange(n)
    weight = 0.5 - 0.125 * known / (known + 1_000.0)
    mixed = learned_mixture(ours, baseline, np.zeros(n), known, 1)
    assert np.allclose(mixed, (3.0 * weight - 1.0)[:, None])


def test_a_mixture_of_one_forecast_with_itself_is_that_forecast():
    rng = np.random.default_rng(6)
    told = np.sort(rng.standard_normal((500, 19)), axis=1)
    assert np.allclose(learned_mixture(told, told, rng.standard_normal(500), np.arange(500), 4), told)


def test_calibration_is_judged_from_every_beginning():
    rng = np.random.default_rng(3)
    places = np.sort(rng.choice(600, 400, replace=False)) + 7
    predicted, realized = rng.random(400), (rng.random(400) < 0.5).astype(float)
    found = calibration_errors(predicted, realized, places, 24)
    each = [calibration_error(predicted[places % 24 == k], realized[places % 24 == k]) for k in range(24)]
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(each), min(each), max(each)))
    # One that is right by the hour alone has beginnings that are wrong by far.
    hour = places % 24 < 12
    assert calibration_errors(np.full(400, 0.5), hour.astype(float), places, 24).low == pytest.approx(0.5)


def test_calibration_from_beginnings_without_a_forecast():
    places = np.array([3, 27, 51])
    found = calibration_errors(np.full(3, 0.25), np.zeros(3), places, 24)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert math.isnan(calibration_errors(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), 24).value)


def test_a_true_forecast_stays_below_its_limit_95_times_of_100():
    rng = np.random.default_rng(2)
    predicted = 0.4 + 0.2 * rng.random(300)
    limit = calibrated_error_limit(predicted)
    errors = [calibration_error(predicted, (rng.random(300) < predicted).astype(float)) for _ in range(600)]
    assert np.mean(np.array(errors) > limit) == pytest.approx(0.05, abs=0.03)


def test_the_probabilistic_sharpe_of_a_fair_coin_has_its_closed_form():
    # Two equally frequent returns: no skew, kurtosis 1, so that no correction is left.
    returns = np.tile([0.03, -0.01], 50)
    ratio = returns.mean() / returns.std(ddof=1)
    assert probabilistic_sharpe(returns) == pytest.approx(NormalDist().cdf(ratio * math.sqrt(99)), abs=1e-12)
    assert probabilistic_sharpe(returns, ratio) == pytest.approx(0.5, abs=1e-12)
    assert math.isnan(probabilistic_sharpe(np.full(10, 0.01)))


def test_losses_with_a_long_tail_are_believed_less():
    steady = np.tile([0.02, 0.0, 0.01], 40)
    crash = steady.copy()
    crash[7] = -0.2
    crash += steady.mean() - crash.mean()
    assert probabilistic_sharpe(crash) < probabilistic_sharpe(steady)


def test_the_best_of_many_trials_is_what_simulation_finds():
    rng = np.random.default_rng(3)
    best = np.array([(rng.standard_normal((50, 250)).mean(axis=1) * 1.0).max() for _ in range(400)])
    assert best_of_trials_sharpe(50, 251) == pytest.approx(best.mean(), rel=0.05)
    assert best_of_trials_sharpe(1, 250) == 0.0


def test_more_trials_deflate_more():
    returns = 0.01 * drawn(1, 250) + 0.001
    values = [deflated_sharpe(returns, trials) for trials in (1, 10, 1000)]
    assert values[0] == probabilistic_sharpe(returns)
    assert values[0] > values[1] > values[2]
