import numpy as np
import pytest

from bot.evaluation.baselines import (
    fitted,
    lightgbm,
    lightgbm_missing,
    momentum,
    nearest_mean,
    path_keys,
    reversal,
    ridge,
    window_keys,
)
from bot.evaluation.folds import folds_of
from bot.model.feature_table import feature_table
from tests.model.walks import walk

TABLE = feature_table(walk(1_500))
QUERIES = np.arange(900, 1_500, 7)
SETTINGS = {"neighbors": 8, "matured_bars": 12, "zone_bars": 24, "temperature": 0.1}


def test_momentum_and_reversal_look_back():
    rows = np.array([1_000])
    assert momentum(TABLE, rows)[0] == pytest.approx(TABLE.window[1_000, -24:].mean(), rel=1e-5)
    assert reversal(TABLE, rows)[0] == -TABLE.window[1_000, -1]


def test_the_scan_is_what_a_plain_loop_finds():
    outcome, keys = TABLE.outcome(12), window_keys(TABLE)
    found = nearest_mean(keys, outcome, QUERIES, **SETTINGS)
    for place in (0, 20, 60):
        query = int(QUERIES[place])
        near = sorted(
            (j for j in range(query - 24 + 1) if np.isfinite(keys[j]).all() and np.isfinite(outcome[j])),
            key=lambda j: -float(keys[j] @ keys[query]),
        )
        chosen: list[int] = []
        for j in near:
            if all(abs(j - other) >= 24 for other in chosen):
                chosen.append(j)
            if len(chosen) == 8:
                break
        similarity = keys[chosen] @ keys[query]
        weight = np.exp((similarity - similarity[0]) / 0.1)
        assert found[place] == pytest.approx(weight @ outcome[chosen] / weight.sum(), rel=1e-4)


def test_an_honest_recall_sees_no_outcome_that_was_still_running_and_a_leak_does():
    outcome, keys = TABLE.outcome(12), path_keys(TABLE)
    query = np.array([1_200])
    poisoned = outcome.copy()
    poisoned[1_200 - 23 :] = 50.0
    honest, leak, future = (
        [nearest_mean(keys, each, query, **SETTINGS, knows=knows)[0] for each in (outcome, poisoned)]
        for knows in ("past", "unmatured", "future")
    )
    assert honest[0] == honest[1]
    assert leak[0] != leak[1]
    assert future[0] != future[1]


def test_nothing_recalled_forecasts_nothing():
    assert nearest_mean(window_keys(TABLE), TABLE.outcome(12), np.array([310]), **SETTINGS)[0] == 0.0


@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_a_fold_is_fitted_to_nothing_that_ended_within_it(name: str):
    if name == "lightgbm" and lightgbm_missing():
        pytest.skip(lightgbm_missing())
    fit = {"ridge": ridge, "lightgbm": lightgbm}[name]
    outcome = TABLE.outcome(12)
    folds = folds_of(900, 1_500, 2)
    poisoned = outcome.copy()
    poisoned[900 - 12 :] = np.where(np.isnan(outcome[900 - 12 :]), np.nan, 9.0)
    one = fitted(TABLE.inputs, outcome, 12, folds, QUERIES, fit)
    other = fitted(TABLE.inputs, poisoned, 12, folds, QUERIES, fit)
    inside = folds[0].end > QUERIES
    assert np.array_equal(one[inside], other[inside])
    assert not np.array_equal(one[~inside], other[~inside])


def test_ridge_finds_a_linear_relation():
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((3_000, 4)).astype(np.float32)
    outcome = 0.5 * inputs[:, 1] - inputs[:, 3] + 2.0
    forecast = ridge(inputs, outcome.astype(np.float64))(inputs[:50])
    assert forecast == pytest.approx(outcome[:50], abs=0.2)


def test_boosted_trees_give_the_same_bits_twice():
    if lightgbm_missing():
        pytest.skip(lightgbm_missing())
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((2_000, 4)).astype(np.float32)
    outcome = np.sign(inputs[:, 0]) + 0.1 * rng.standard_normal(2_000)
    one, other = (lightgbm(inputs, outcome)(inputs) for _ in range(2))
    assert np.array_equal(one, other)
    assert np.corrcoef(one, outcome)[0, 1] > 0.9
    low, high = (lightgbm(inputs, outcome, level=level)(inputs) for level in (0.1, 0.9))
    assert low.mean() < outcome.mean() < high.mean()
