"""The compiled loops beside the plain NumPy that says what they are."""

import math

import numpy as np
import pytest

from bot.model.kernels import layers, search, series

SEED = 11


def drawn(*shape, dtype=np.float64):
    return np.random.default_rng(SEED).standard_normal(shape).astype(dtype)


def test_the_exponential_is_e_to_the_x_over_all_that_float32_holds():
    x = np.linspace(-87, 88, 4_001).astype(np.float32)
    told = np.array([layers._exp(each) for each in x], np.float64)
    assert told == pytest.approx(np.exp(x.astype(np.float64)), rel=3e-7)
    assert layers._exp(np.float32(-1e9)) < 2e-38


def test_rows_are_rounded_to_codes_whose_error_is_no_longer_than_was_said():
    keys = drawn(50, 70, dtype=np.float32) * np.float32(10.0) ** np.arange(-25, 25, dtype=np.float32)[:, None]
    codes, scales = np.zeros((50, 2, search.LINE), np.int8), np.zeros(50, np.float32)
    for row in range(50):
        said = search.encode_rows(keys[row : row + 1], codes[row : row + 1], scales[row : row + 1])
        told = codes[row].reshape(-1)[:70].astype(np.float64) * np.float64(scales[row])
        assert said == pytest.approx(np.linalg.norm(keys[row].astype(np.float64) - told), rel=1e-6)
        assert np.abs(codes[row]).max() == search.MAX_CODE
        assert not codes[row].reshape(-1)[70:].any()


def test_running_weights_are_those_of_an_exponential_and_nothing_beyond_the_farthest():
    states, query = drawn(300, 5, dtype=np.float32), drawn(5, dtype=np.float32)
    distances = layers.squared_distances(states, query)
    assert distances == pytest.approx(((states - query) ** 2).sum(axis=1), rel=1e-5)
    farthest = np.sort(distances)[99]
    totals, squares = layers.running_weights(distances, farthest, np.float32(0.7))
    weights = np.exp(-0.7 * (distances - distances.min()).astype(np.float64)) * (distances <= farthest)
    assert np.count_nonzero(np.diff(totals)) == 99 + (weights[0] == 0.0)
    assert totals == pytest.approx(np.cumsum(weights), rel=1e-5, abs=1e-12)
    assert squares == pytest.approx(weights @ weights, rel=1e-5)


def test_the_max_cosine_is_the_highest_product_with_a_view():
    shapes, views = drawn(40, 40, dtype=np.float32), 0.1 * drawn(9, 40, dtype=np.float32)
    expected = np.maximum((shapes @ views.T).max(axis=1), -1.0)
    assert search.max_cosine(shapes, views) == pytest.approx(expected, abs=1e-5)


def test_suppressing_overlaps_keeps_a_zone_around_all_that_was_chosen_before():
    times = np.random.default_rng(SEED).integers(0, 3_000, 400)
    for wanted in (1, 7, 1_000):
        chosen = search.suppress_overlaps(times, 50, wanted).tolist()
        expected = []
        for place, time in enumerate(times.tolist()):
            if len(expected) < wanted and all(abs(time - times[other]) >= 50 for other in expected):
                expected.append(place)
        assert chosen == expected


def test_figures_of_a_feature_row_are_weighted_sums_and_a_score():
    squares, returns, fading = drawn(256) ** 2, drawn(256), np.abs(drawn(3, 256))
    volumes = np.exp(drawn(256))
    logs = np.log1p(volumes)
    expected = (
        fading[0] @ squares, fading[1] @ returns, fading[2] @ returns, (logs[-1] - logs.mean()) / logs.std()
    )  # fmt: skip
    assert series.recent_sums(squares, returns, volumes, fading, 1e300) == pytest.approx(expected)
    assert series.recent_sums(squares, returns, np.ones(256), fading, 1e300)[3] == 0.0


def test_trend_and_volatility_are_means_of_windows():
    returns, bars, trend, recent = drawn(300), 256, 96, 24
    means, errors, calmer = (np.empty(45) for _ in range(3))
    series.trend_and_volatility(returns, bars, trend, recent, means, errors, calmer)
    for row in range(45):
        window = returns[row : row + bars]
        moves = np.convolve(np.abs(window), np.ones(recent), "valid")
        assert means[row] == pytest.approx(window[-trend:].mean())
        assert errors[row] == pytest.approx(window[-trend:].std() / math.sqrt(trend))
        assert calmer[row] == pytest.approx(
            np.mean(moves[:-1] < moves[-1] - 1e-9) * (len(moves) - 1) / len(moves)
        )


def test_the_logistic_gradient_is_that_of_the_votes_likelihood():
    columns, offsets, coefficients = drawn(2, 60), 0.3 * drawn(60), np.array([0.4, -0.2])
    rose = (drawn(60) > 0).astype(np.float64)
    gradient, information = series.logistic_gradient(columns, offsets, rose, coefficients)
    expected = 1.0 / (1.0 + np.exp(-offsets - coefficients @ columns))
    assert gradient == pytest.approx(columns @ (rose - expected))
    assert information == pytest.approx((columns * expected * (1.0 - expected)) @ columns.T)
