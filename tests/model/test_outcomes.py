import math

import numpy as np

from bot.model.outcomes import Moment, PendingOutcomes
from tests.factories import a_bar

MOMENT = Moment(key=np.array([1.0, 0.0], dtype=np.float32), regime="up/calm", volatility=0.01)


def matured(pending, bars):
    """The moments that matured at each bar, with every bar's own moment added as pending."""
    answers = []
    for bar in bars:
        answers.append(pending.mature(bar))
        pending.add(bar, MOMENT)
    return answers


def test_a_moment_matures_at_the_close_that_ends_its_horizon_and_not_before():
    bars = [a_bar(i, close=close) for i, close in enumerate(["100", "200", "300", "110"])]
    answers = matured(PendingOutcomes(3), bars)
    assert answers[:3] == [[], [], []]
    (moment,) = answers[3]
    assert moment.start_ms == bars[0].start_ms
    assert moment.matured_ms == bars[3].close_ms
    assert moment.forward_return == math.log(110 / 100)
    assert moment.moment is MOMENT


def test_a_ramp_gives_each_moment_the_same_sum_of_returns():
    bars = [a_bar(i, close=f"{100 * 1.01**i:.9f}") for i in range(10)]
    answers = matured(PendingOutcomes(4), bars)
    assert [len(answer) for answer in answers] == [0] * 4 + [1] * 6
    for i, (moment,) in enumerate(answers[4:]):
        assert moment.start_ms == bars[i].start_ms
        assert abs(moment.forward_return - 4 * math.log(1.01)) < 1e-9


def test_a_gap_drops_the_pending_moments_of_its_symbol_only():
    pending = PendingOutcomes(2)
    btc = [a_bar(i) for i in (0, 1, 3, 4, 5)]
    eth = [a_bar(i, symbol="ETHUSDT") for i in range(3)]
    answers = matured(pending, [btc[0], eth[0], btc[1], eth[1], btc[2], eth[2], btc[3], btc[4]])
    starts = [(e.symbol, e.start_ms) for answer in answers for e in answer]
    assert starts == [("ETHUSDT", eth[0].start_ms), ("BTCUSDT", btc[2].start_ms)]


def test_bars_without_a_moment_leave_the_others_in_step():
    pending = PendingOutcomes(2)
    bars = [a_bar(i, close=100 + i) for i in range(6)]
    found = []
    for i, bar in enumerate(bars):
        found += pending.mature(bar)
        if i % 2 == 0:
            pending.add(bar, MOMENT)
    assert [(e.start_ms, e.matured_ms) for e in found] == [
        (bars[0].start_ms, bars[2].close_ms),
        (bars[2].start_ms, bars[4].close_ms),
    ]
