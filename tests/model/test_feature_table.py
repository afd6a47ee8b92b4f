import numpy as np
import pytest

from bot.model.feature_table import feature_table
from bot.model.features import RECEPTIVE_BARS, FeatureWindow
from tests.model.walks import from_closes, walk


def test_on_a_ramp_the_outcome_is_the_growth_of_exactly_the_horizon():
    # ln(close) grows by 1, 2, 3, ... thousandths: only bars t+1 to t+h may count.
    steps = 0.001 * np.arange(1, 601)
    table = feature_table(from_closes(100 * np.exp(np.cumsum(steps) / 100)))
    row, h = 500, 4
    expected = steps[row + 1 : row + 1 + h].sum() / 100
    assert table.outcome(h)[row] * table.scale(h)[row] == pytest.approx(expected, rel=1e-4)


def test_an_outcome_that_the_end_or_a_gap_cuts_short_is_none():
    bars = walk(900)
    gap = feature_table(bars[:600] + bars[603:])
    outcome = gap.outcome(8)
    assert np.isfinite(outcome[591])
    assert np.isnan(outcome[592:600]).all()
    assert np.isnan(outcome[-8:]).all()
    # After the gap everything must be learnt anew.
    assert np.isnan(gap.volatility[600:]).all()


def test_rows_know_nothing_of_later_bars():
    bars = walk(900)
    poisoned = bars[:700] + walk(900, seed=9)[700:]
    one, other = feature_table(bars), feature_table(poisoned)
    for name in ("volatility", "inputs", "window"):
        assert np.array_equal(getattr(one, name)[:700], getattr(other, name)[:700], equal_nan=True)
        assert not np.array_equal(getattr(one, name)[701:], getattr(other, name)[701:], equal_nan=True)


def test_a_row_is_what_the_bots_own_window_says():
    bars = walk(RECEPTIVE_BARS + 20)
    window = FeatureWindow()
    for bar in bars:
        window.push(bar)
    table = feature_table(bars)
    assert table.volatility[-1] == window.volatility()
    assert table.window[-1] == pytest.approx(window.scaled_returns(48).astype(np.float32))
    assert np.isnan(table.volatility[: RECEPTIVE_BARS - 1]).all()
    assert np.isfinite(table.volatility[RECEPTIVE_BARS - 1 :]).all()
