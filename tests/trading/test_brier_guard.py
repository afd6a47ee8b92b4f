"""The Brier score of confidence, worked out by hand."""

import numpy as np
import pytest

from bot.trading.brier_guard import BrierState, RollingBrierScore
from tests.factories import a_bar, a_signal


def score_of(size: int, *claims: tuple[float, bool]) -> RollingBrierScore:
    """The score of one-bar forecasts of a rise, each with its probability and right or not."""
    score = RollingBrierScore(size, BrierState())
    close = 100
    score.mature(a_bar(0, close=close))
    for index, (stated, right) in enumerate(claims):
        assert score.add(a_signal(confidence=stated, horizon_bars=1), a_bar(index, close=close), None)
        close += 1 if right else -1
        assert score.mature(a_bar(index + 1, close=close))
    return score


def test_each_forecast_is_compared_with_the_base_rate_known_when_it_was_made():
    squares = score_of(10, (0.9, True), (0.9, False), (0.6, True)).snapshot().squares
    assert np.array(squares) == pytest.approx(np.array([(0.01, 0.25), (0.81, (2 / 3) ** 2), (0.16, 0.25)]))


def test_forecasts_that_overlap_count_once_and_one_that_ends_in_a_gap_not_at_all():
    score = RollingBrierScore(10, BrierState())
    signal = a_signal("short", confidence=0.7, horizon_bars=2)
    assert score.add(signal, a_bar(0, close=100), None)
    assert not score.add(signal, a_bar(1, close=100), None)
    assert score.add(signal, a_bar(1, close=100, symbol="ETHUSDT"), None)
    assert not score.mature(a_bar(1, close=50))
    assert score.mature(a_bar(2, close=99))
    assert score.mature(a_bar(4, close=99, symbol="ETHUSDT"))
    assert score.snapshot().judged == 1
    assert np.array(score.snapshot().squares) == pytest.approx(np.array([(0.09, 0.25)]))


@pytest.mark.parametrize(
    ("action", "fields", "base_ratio", "rises"),
    [
        ("long", {}, None, True),
        ("short", {}, None, False),
        ("hold", {"positive_ratio": 0.55}, 0.6, False),
        ("hold", {"positive_ratio": 0.55}, None, True),
        ("hold", {}, 0.6, None),
        ("long", {"confidence": 0.0}, None, None),
        ("long", {"horizon_bars": None}, None, None),
    ],
)
def test_what_a_signal_forecasts(action, fields, base_ratio, rises):
    score = RollingBrierScore(10, BrierState())
    signal = a_signal(action, **({"confidence": 0.7, "horizon_bars": 3} | fields))
    taken = score.add(signal, a_bar(0), base_ratio)
    assert taken == (rises is not None)
    assert [claim.rises for claim in score.snapshot().open.values()] == [rises] * taken


def test_entries_pass_while_too_few_forecasts_are_known_and_while_confidence_is_as_good_as_the_base_rate():
    wrong = [(0.95, False)] * 20
    assert score_of(21, *wrong).worse_than_base_rate() is None
    reason = score_of(20, *wrong).worse_than_base_rate()
    assert reason is not None
    assert "over the last 20 claims confidence had a Brier score of 0.9025" in reason
    assert score_of(20, *[(0.95, True)] * 20).worse_than_base_rate() is None
    assert score_of(20, *[(0.5, True), (0.5, False)] * 10).worse_than_base_rate() is None


def test_entries_pass_again_once_wrong_forecasts_are_long_past():
    claims = [(0.95, False)] * 10 + [(0.95, True)] * 10
    assert score_of(10, *claims[:10]).worse_than_base_rate() is not None
    assert score_of(10, *claims).worse_than_base_rate() is None


def test_a_score_of_no_size_takes_nothing():
    score = RollingBrierScore(0, BrierState())
    assert not score.add(a_signal(confidence=0.9, horizon_bars=1), a_bar(0), None)
    assert score.worse_than_base_rate() is None
