from dataclasses import replace

import numpy as np
import pytest

from bot.evaluation.fold_odds import FoldOdds, fit_odds, tell_odds
from bot.evaluation.folds import folds_of
from bot.model.feature_table import FeatureTable
from bot.model.odds import Odds, OddsNetwork
from bot.model.training.forecaster import OddsTrainingConfig
from bot.model.training.material import material_before
from tests.model.test_odds import some_weights

HOUR_MS = 3_600_000
BARS, FIRST = 3000, 1500
CONFIG = OddsTrainingConfig(steps=6, queries=32, candidates=256, validate_every=3)
FOLDS = folds_of(FIRST, BARS, 2)


def a_table(seed=1):
    """A random walk whose states are known from bar 100 on."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((BARS, 38)).astype(np.float32)
    states[:100] = np.nan
    return FeatureTable(
        symbol="BTCUSDT",
        interval="60",
        start_ms=HOUR_MS * np.arange(BARS),
        clock_ms=HOUR_MS * np.arange(BARS),
        days_a_year=365.25,
        log_close=np.cumsum(0.01 * rng.standard_normal(BARS)),
        volatility=np.full(BARS, 0.01),
        inputs=np.zeros((BARS, 32), np.float32),
        window=np.zeros((BARS, 48), np.float32),
        states=states,
        contiguous_bars=np.arange(1, BARS + 1),
    )


def poisoned(table, row):
    """The same until bar ``row`` closes; another market from there on."""
    other = a_table(seed=2)
    states, closes = table.states.copy(), table.log_close.copy()
    states[row + 1 :], closes[row + 1 :] = other.states[row + 1 :], 5.0 + other.log_close[row + 1 :]
    return replace(table, states=states, log_close=closes)


def bits(fitted):
    return [{name: value.tobytes() for name, value in each.odds.weights.items()} for each in fitted]


def test_a_fold_is_trained_on_nothing_that_was_open_when_it_began():
    table = a_table()
    for fold in FOLDS:
        # A fold is forecast from the close of its first bar on; what it may know closed before that bar opened.
        changed = material_before(poisoned(table, fold.first - 1), fold.first, (1, 4, 24))
        same = material_before(table, fold.first, (1, 4, 24))
        assert np.array_equal(same.rows, changed.rows)
        assert np.array_equal(same.outcomes, changed.outcomes)
        assert same.start_ms[-1] == HOUR_MS * (fold.first - 25)
        # One bar earlier something must change, or this test could not fail.
        earlier = material_before(poisoned(table, fold.first - 2), fold.first, (1, 4, 24))
        assert not np.array_equal(same.outcomes, earlier.outcomes)


def test_what_comes_after_a_fold_began_does_not_change_its_weights():
    table = a_table()
    honest = bits(fit_odds(table, FOLDS, config=CONFIG))
    later = bits(fit_odds(poisoned(table, FOLDS[1].first - 1), FOLDS, config=CONFIG))
    assert later == honest
    middle = bits(fit_odds(poisoned(table, FOLDS[0].first - 1), FOLDS, config=CONFIG))
    assert middle[0] == honest[0]
    assert middle[1] != honest[1]


@pytest.mark.parametrize("h", [1, 16, 24])
def test_what_is_told_at_a_bar_knows_nothing_of_later_ones(h):
    table = a_table()
    fitted = fit_odds(table, FOLDS, config=CONFIG)
    queries = np.arange(FIRST, BARS - 24, 7)
    row = int(queries[150])
    before = queries <= row
    one, other = (tell_odds(each, fitted, queries, h) for each in (table, poisoned(table, row)))
    for name in ("head", "memory", "frozen", "gated"):
        told, changed = getattr(one, name), getattr(other, name)
        assert np.abs(told[before] - changed[before]).max() < 1e-6
        if name != "frozen":
            assert np.abs(told[~before] - changed[~before]).max() > 1e-3


def test_a_bar_without_a_state_is_told_nothing():
    table = a_table()
    table.states[FIRST + 3] = np.nan
    told = tell_odds(table, fit_odds(table, FOLDS, config=CONFIG), np.arange(FIRST, FIRST + 6), 4)
    assert np.isnan(told.gated[3]).all()
    assert np.isfinite(np.delete(told.gated, 3, axis=0)).all()


def test_a_frozen_memory_holds_what_was_over_when_its_fold_began():
    table = a_table()
    fitted = fit_odds(table, FOLDS, config=CONFIG)
    queries = np.arange(FIRST, BARS - 24, 7)
    inside = queries < FOLDS[0].end
    one, other = (
        tell_odds(each, fitted, queries, 4).frozen
        for each in (table, replace(table, log_close=poisoned(table, FIRST - 1).log_close))
    )
    assert np.array_equal(one[inside], other[inside])
    assert not np.array_equal(one[~inside], other[~inside])


@pytest.mark.parametrize("h", [1, 16])
def test_a_fold_s_memory_is_what_a_bot_would_recall_of_each_bar_whose_outcome_is_over(h):
    table, network = a_table(), OddsNetwork(inputs=38, width=16)
    odds = Odds(network, some_weights(network))
    queries = np.arange(FIRST, FIRST + 40, 9)
    told = tell_odds(table, [FoldOdds(FOLDS[0], odds)], queries, h)
    for row, memory, gated in zip(queries.tolist(), told.memory, told.gated, strict=True):
        known = np.arange(100, row - h + 1)
        each = [odds.standing(table.states[i], h) for i in known]
        outcomes = table.outcome(h)[known] / [float(one.scale) for one in each]
        order = np.argsort(outcomes)
        states = np.array([each[i].state for i in order])
        recalled = odds.recalled(states, outcomes[order], odds.standing(table.states[row], h), h)
        assert memory == pytest.approx(recalled.quantiles, abs=1e-3)
        blend = odds.blend(odds.at(odds.head(table.states[row]), h), recalled, h)
        assert gated == pytest.approx(blend, abs=1e-3)
