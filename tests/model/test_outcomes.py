import math

import numpy as np

from bot.model.outcomes import Moment, PendingOutcomes
from tests.factories import a_bar

MOMENT = Moment(key=np.array([1.0, 0.0], dtype=np.float32), regime="up/calm", volatility=0.01)


def settled(pending, bars):
    """What each bar settles, with every bar's own moment left waiting."""
    answers = []
    for bar in bars:
        answers.append(pending.settle(bar))
        pending.wait(bar, MOMENT)
    return answers


def test_a_moment_is_settled_at_the_close_that_ends_its_horizon_and_not_before():
    bars = [a_bar(i, close=close) for i, close in enumerate(["100", "200", "300", "110"])]
    answers = settled(PendingOutcomes(3), bars)
    assert answers[:3] == [[], [], []]
    (episode,) = answers[3]
    assert episode.start_ms == bars[0].start_ms
    assert episode.matured_ms == bars[3].close_ms
    assert episode.forward_return == math.log(110 / 100)
    assert episode.moment is MOMENT


def test_a_ramp_gives_each_moment_the_same_sum_of_returns():
    bars = [a_bar(i, close=f"{100 * 1.01**i:.9f}") for i in range(10)]
    answers = settled(PendingOutcomes(4), bars)
    assert [len(answer) for answer in answers] == [0] * 4 + [1] * 6
    for i, (episode,) in enumerate(answers[4:]):
        assert episode.start_ms == bars[i].start_ms
        assert abs(episode.forward_return - 4 * math.log(1.01)) < 1e-9


def test_a_gap_drops_the_waiting_moments_of_its_symbol_only():
    pending = PendingOutcomes(2)
    btc = [a_bar(i) for i in (0, 1, 3, 4, 5)]
    eth = [a_bar(i, symbol="ETHUSDT") for i in range(3)]
    answers = settled(pending, [btc[0], eth[0], btc[1], eth[1], btc[2], eth[2], btc[3], btc[4]])
    starts = [(e.symbol, e.start_ms) for answer in answers for e in answer]
    assert starts == [("ETHUSDT", eth[0].start_ms), ("BTCUSDT", btc[2].start_ms)]


def test_bars_without_a_moment_leave_the_others_in_step():
    pending = PendingOutcomes(2)
    bars = [a_bar(i, close=100 + i) for i in range(6)]
    found = []
    for i, bar in enumerate(bars):
        found += pending.settle(bar)
        if i % 2 == 0:
            pending.wait(bar, MOMENT)
    assert [(e.start_ms, e.matured_ms) for e in found] == [
        (bars[0].start_ms, bars[2].close_ms),
        (bars[2].start_ms, bars[4].close_ms),
    ]
