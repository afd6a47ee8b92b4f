import math

import numpy as np
import pytest

from bot.errors import BrokenInvariant
from bot.model.memory.bank import MemoryBank
from bot.model.memory.moments import MemoryConfig
from bot.model.memory.sorted_outcomes import SortedOutcomes, keeps_state
from bot.model.odds import Standing
from bot.model.outcomes import MaturedMoment, Moment

STEP = 10
DIMENSION = 3
EXCLUSION = 4


def a_bank(size=20, **config):
    return MemoryBank(
        MemoryConfig(size=size, **config),
        dimension=2,
        interval_ms=STEP,
        exclusion_bars=EXCLUSION,
        state_dimension=DIMENSION,
    )


def an_episode(number, state, *, scale=1.0, symbol="BTCUSDT", forward_return=0.01, horizon=3):
    start_ms = number * STEP
    key = np.array([1.0, 0.0], np.float32)
    standing = None if state is None else Standing(state, np.array(scale))
    return MaturedMoment(
        symbol=symbol,
        start_ms=start_ms,
        matured_ms=start_ms + (1 + horizon) * STEP,
        moment=Moment(key=key, regime="up/calm", volatility=0.01, standing=standing),
        forward_return=forward_return,
    )


def scaled(episode):
    horizon = (episode.matured_ms - episode.start_ms) / STEP - 1.0
    return episode.forward_return / (0.01 * math.sqrt(horizon) * float(episode.moment.standing.scale))


def expected(kept, now_ms):
    """What may be known, by the definition: sorted by outcome, time and symbol."""
    allowed = [
        e
        for e in kept
        if e.matured_ms <= now_ms and e.start_ms + STEP <= now_ms - EXCLUSION * STEP
    ]  # fmt: skip
    allowed.sort(key=lambda e: (scaled(e), e.start_ms, e.symbol))
    return allowed


@pytest.mark.parametrize("size", [1, 7, 60])
def test_ten_thousand_inserts_evictions_and_questions_give_what_brute_force_gives(size):
    rng = np.random.default_rng(size)
    bank, kept, asked = a_bank(size), [], 0
    number = 0
    while asked < 3_000:
        for _ in range(int(rng.choice([0, 1, 1, 2, 40]))):
            number += int(rng.integers(0, 3))
            episode = an_episode(
                number + int(rng.integers(-2, 3)),
                rng.standard_normal(DIMENSION).astype(np.float32),
                scale=float(rng.choice([0.5, 1.0, rng.uniform(0.2, 5.0)])),
                symbol=str(rng.choice(["ADAUSDT", "BTCUSDT"])),
                forward_return=float(rng.choice([-0.02, 0.0, 0.01, rng.standard_normal()])),
                horizon=int(rng.integers(2, 15)),
            )
            bank.remember([episode])
            if (episode.symbol, episode.start_ms) not in [(e.symbol, e.start_ms) for e in kept]:
                kept = [*kept, episode][-size:]
        now_ms = (number + int(rng.integers(-5, 25))) * STEP
        known, truth = bank.odds(now_ms), expected(kept, now_ms)
        assert known.outcomes.tolist() == [scaled(e) for e in truth]
        assert known.states.tolist() == [e.moment.standing.state.tolist() for e in truth]
        asked += 1


def test_the_same_moments_give_the_same_bits_in_whatever_order_they_came():
    rng = np.random.default_rng(4)
    rows = [
        (
            symbol,
            start,
            float(rng.choice([0.0, rng.standard_normal()])),
            rng.standard_normal(DIMENSION),
            start,
        )
        for start in range(300)
        for symbol in ("ADAUSDT", "BTCUSDT")
    ]
    answers = []
    for order in (range(600), rng.permutation(600).tolist(), range(599, -1, -1)):
        moments = SortedOutcomes(DIMENSION, 600)
        for count, i in enumerate(order):
            symbol, start, outcome, state, recallable = rows[i]
            moments.add(symbol, start, outcome, state.astype(np.float32), recallable)
            if count % 7 == 0:  # some take their place one by one, some together
                moments.known(count)
        answers.append([column.tobytes() for column in moments.known(200)])
    assert answers[0] == answers[1] == answers[2]


def test_of_a_larger_memory_as_many_are_asked_as_was_said_evenly_over_hours_and_weekdays():
    kept = [bar for bar in range(400_000, 500_000) if keeps_state(bar, 100_000, 16_384)]
    assert len(kept) == pytest.approx(16_384, abs=2)
    for hours in (24, 168):
        counts = np.bincount(np.array(kept) % hours, minlength=hours)
        assert counts.min() > 0.9 * counts.mean()
    assert all(keeps_state(bar, 16_384, 16_384) for bar in range(1_000))
    assert not any(keeps_state(bar, 100, 0) for bar in range(1_000))


def test_states_that_are_not_asked_for_are_let_go():
    state = np.zeros(DIMENSION, np.float32)
    bank = a_bank(size=100, odds_moments=10)
    bank.remember([an_episode(i, state) for i in range(100)])
    assert len(bank) == 100
    assert len(bank.odds(10**6).outcomes) == sum(keeps_state(i, 100, 10) for i in range(100)) > 5


def test_moments_without_a_state_are_remembered_but_not_asked_for_odds():
    bank = a_bank(size=4)
    for i in range(12):
        bank.remember([an_episode(i, np.zeros(DIMENSION, np.float32) if i % 3 else None)])
    assert len(bank) == 4
    assert len(bank.odds(10**6).outcomes) == 3


@pytest.mark.parametrize(
    "state",
    [
        np.full(DIMENSION, np.nan, np.float32),
        np.zeros(DIMENSION, np.float64),
        np.zeros(DIMENSION + 1, np.float32),
    ],
)
def test_a_broken_state_is_refused_and_nothing_is_remembered(state):
    bank = a_bank()
    with pytest.raises(BrokenInvariant, match="the state of BTCUSDT at 10"):
        bank.remember([an_episode(0, None), an_episode(1, state)])
    assert len(bank) == 0


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_nothing_can_be_measured_in_is_refused_and_nothing_is_remembered(scale):
    bank, state = a_bank(), np.zeros(DIMENSION, np.float32)
    with pytest.raises(BrokenInvariant, match="the scale of BTCUSDT at 10"):
        bank.remember([an_episode(0, state), an_episode(1, state, scale=scale)])
    assert len(bank) == 0
