import numpy as np
import pytest

from bot.model.features import RECEPTIVE_BARS
from bot.model.training.views import ContiguousReturns, ShapeConfig, contiguous_returns
from tests.model.walks import walk


def a_run(values, first_ms=0):
    return ContiguousReturns(first_ms + np.arange(len(values)), np.asarray(values, dtype=np.float64))


def test_runs_are_the_scaled_returns_of_unbroken_bars():
    bars = walk(RECEPTIVE_BARS + 100)
    after = walk(RECEPTIVE_BARS, seed=2, first=len(bars) + 5)
    first, second = contiguous_returns(bars + after)
    assert first.start_ms[-1] == bars[-1].start_ms
    assert second.start_ms[-1] == after[-1].start_ms
    # The first 257 bars of a run only make its volatility known.
    assert (len(first), len(second)) == (len(bars) - 257, len(after) - 257)
    assert np.array_equal(contiguous_returns(bars[:400])[0].scaled, first.scaled[:143])


def test_a_part_of_a_run_begins_at_its_first_moment_and_ends_before_its_last():
    run = a_run(range(10)).within(3, 7)
    assert run.start_ms.tolist() == [3, 4, 5, 6]
    assert run.scaled.tolist() == [3.0, 4.0, 5.0, 6.0]


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="shortest is above longest"):
        ShapeConfig(min_bars=50, max_bars=40)
