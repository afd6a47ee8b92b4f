import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import BrokenInvariant
from bot.model.memory import (
    FaissRows,
    MemoryBank,
    MemoryConfig,
    NumpyRows,
    overwrites_in_place,
)
from bot.model.outcomes import Episode

DIMENSION = 4
STEP = 10  # an interval of 10 ms keeps times readable
HORIZON = 3
EXCLUSION = 4


def a_key(*values, dimension=DIMENSION):
    key = np.zeros(dimension)
    key[: len(values)] = values
    return (key / np.linalg.norm(key)).astype(np.float32)


def an_episode(number, key, *, symbol="BTCUSDT", forward_return=0.01, regime="up/calm", horizon=HORIZON):
    start_ms = number * STEP
    return Episode(symbol, start_ms, start_ms + (1 + horizon) * STEP, key, regime, forward_return)


def a_bank(exclusion=EXCLUSION, **config):
    return MemoryBank(MemoryConfig(**config), dimension=DIMENSION, interval_ms=STEP, exclusion_bars=exclusion)


def found(neighbors):
    return [(n.symbol, n.bar_start_ms) for n in neighbors]


class BruteForceBank:
    """What the bank promises, in the plainest way: a list, sorted at every question."""

    def __init__(self, size):
        self.size, self.kept = size, []

    def remember(self, episode):
        if (episode.symbol, episode.start_ms) not in [(e.symbol, e.start_ms) for e in self.kept]:
            self.kept = [*self.kept, episode][-self.size :]

    def recall(self, key, now_ms, k):
        def similarity(episode):
            return float(np.einsum("i,i->", episode.key.astype(np.float64), key.astype(np.float64)))

        chosen = []
        # Rounded, so that the order does not hang on a last bit.
        for episode in sorted(self.kept, key=lambda e: (-round(similarity(e), 5), e.start_ms, e.symbol)):
            over = episode.matured_ms <= now_ms
            apart = episode.start_ms + STEP <= now_ms - EXCLUSION * STEP
            alone = all(abs(episode.start_ms - other.start_ms) >= EXCLUSION * STEP for other, _ in chosen)
            if over and apart and alone:
                chosen.append((episode, similarity(episode)))
        return chosen[:k]

    def base_rate(self, now_ms):
        outcomes = [e.forward_return for e in self.kept if e.matured_ms <= now_ms]
        rises = [1.0 if r > 0 else 0.5 if r == 0 else 0.0 for r in outcomes]
        count = len(outcomes)
        return (count, math.fsum(outcomes) / count, sum(rises) / count) if count else (0, 0.0, 0.5)


# Directions far enough apart that no two similarities differ by rounding alone; some coincide.
DIRECTIONS = [a_key(*np.random.default_rng(7 + i).standard_normal(DIMENSION)) for i in range(12)]
directions = st.sampled_from(DIRECTIONS)
inserts = st.tuples(
    st.just("remember"),
    st.integers(0, 25),
    st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"]),
    directions,
    st.sampled_from([-0.5, -0.013, 0.0, 0.007, 1.25]),
    st.integers(HORIZON, HORIZON + 9),
)
questions = st.tuples(st.just("recall"), st.integers(0, 36), directions, st.integers(1, 6))


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 9),
    st.lists(st.one_of(inserts, inserts, questions), min_size=20, max_size=70),
    st.integers(1, 3),
)
def test_the_bank_answers_as_brute_force_does(size, actions, over_fetch):
    bank, truth = a_bank(size=size, over_fetch=over_fetch), BruteForceBank(size)
    for action in actions:
        if action[0] == "remember":
            _, number, symbol, key, outcome, horizon = action
            episode = an_episode(number, key, symbol=symbol, forward_return=outcome, horizon=horizon)
            bank.remember([episode])
            truth.remember(episode)
        else:
            _, now, key, k = action
            neighbors, expected = bank.recall(key, now * STEP, k), truth.recall(key, now * STEP, k)
            assert found(neighbors) == [(e.symbol, e.start_ms) for e, _ in expected]
            assert [n.similarity for n in neighbors] == pytest.approx([s for _, s in expected], abs=1e-6)
            assert [(n.forward_return, n.regime) for n in neighbors] == [
                (e.forward_return, e.regime) for e, _ in expected
            ]
            base = bank.base_rate(now * STEP)
            count, mean, ratio = truth.base_rate(now * STEP)
            assert base.moments == count
            assert base.mean_return == pytest.approx(mean, abs=1e-15)
            assert base.positive_ratio == ratio
        assert len(bank) == len(truth.kept)


def test_a_ring_overwritten_in_place_equals_a_fresh_index_bit_for_bit():
    rng = np.random.default_rng(3)
    size, dimension = 64, 48
    keys = rng.standard_normal((5 * size + 17, dimension)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    ring = FaissRows(dimension, size)
    for i, key in enumerate(keys):
        ring.write(i % size, key)
    fresh = FaissRows(dimension, size)
    order = np.arange(len(keys) - size, len(keys))
    for slot, i in enumerate(order[np.argsort(order % size)]):
        fresh.write(slot, keys[i])
    for query in keys[:20]:
        ring_answer, fresh_answer = ring.search(query, size), fresh.search(query, size)
        assert np.array_equal(ring_answer[0], fresh_answer[0])
        assert np.array_equal(ring_answer[1], fresh_answer[1])


@pytest.mark.parametrize("rows", [FaissRows, NumpyRows])
def test_a_row_has_the_same_similarity_in_whatever_slot_it_stands(rows):
    rng = np.random.default_rng(4)
    key, query = rng.standard_normal((2, 48)).astype(np.float32)
    for size in (1, 2, 5, 33, 100):
        filled = rows(48, size)
        for slot in range(size):
            filled.write(slot, key)
        similarities, _ = filled.search(query, size)
        assert len(set(similarities.tolist())) == 1
        single = rows(48, 1)
        single.write(0, key)
        assert single.search(query, 1)[0][0] == similarities[0]


def test_after_many_turns_of_the_ring_every_key_still_belongs_to_its_episode():
    bank = a_bank(size=7, exclusion=1)
    rng = np.random.default_rng(5)
    keys = [a_key(*rng.standard_normal(DIMENSION)) for _ in range(500)]
    for i, key in enumerate(keys):
        bank.remember([an_episode(i, key, forward_return=i / 1000, regime=f"regime {i % 3}")])
        if i % 11 == 0:
            for j in range(max(0, i - 6), i + 1):
                (nearest,) = bank.recall(keys[j], 10**6, 1)
                assert nearest.bar_start_ms == j * STEP
                assert nearest.forward_return == j / 1000
                assert nearest.regime == f"regime {j % 3}"
    assert len(bank) == 7


def test_recall_never_returns_the_moment_that_asked_nor_its_surroundings():
    bank = a_bank(size=100)
    bank.remember([an_episode(i, a_key(1, (50 - i) / 100), horizon=0) for i in range(50)])
    asked = 30
    starts = [n.bar_start_ms // STEP for n in bank.recall(a_key(1), (asked + 1) * STEP)]
    assert max(starts) == asked - EXCLUSION


def test_nothing_is_recalled_before_its_horizon_has_passed_for_any_symbol():
    bank = a_bank()
    horizon = 20
    bank.remember([an_episode(0, a_key(1), symbol=s, horizon=horizon) for s in ("BTCUSDT", "ETHUSDT")])
    over_ms = (1 + horizon) * STEP
    assert bank.recall(a_key(1), over_ms - 1) == ()
    assert bank.base_rate(over_ms - 1).moments == 0
    assert found(bank.recall(a_key(1), over_ms)) == [("BTCUSDT", 0)]
    assert bank.base_rate(over_ms).moments == 2


def test_neighbours_never_overlap_and_the_nearest_of_an_episode_stands():
    bank = a_bank(size=100)
    for i in range(40):
        symbol = "BTCUSDT" if i % 2 else "ETHUSDT"
        bank.remember([an_episode(i, a_key(1, abs(i - 20) / 10), symbol=symbol)])
    neighbors = bank.recall(a_key(1), 10**6)
    starts = sorted(n.bar_start_ms for n in neighbors)
    assert neighbors[0].bar_start_ms == 20 * STEP
    assert len(starts) > 5
    assert min(b - a for a, b in pairwise(starts)) >= EXCLUSION * STEP


def test_an_episode_kept_already_stays_as_it_is_until_it_is_evicted():
    bank = a_bank(size=2)
    first, again = an_episode(0, a_key(1)), an_episode(0, a_key(1), forward_return=-9.0)
    bank.remember([first, again])
    assert len(bank) == 1
    assert bank.recall(a_key(1), 10**6)[0].forward_return == 0.01
    bank.remember([an_episode(100, a_key(0, 1)), an_episode(200, a_key(0, 1)), again])
    assert len(bank) == 2
    assert bank.recall(a_key(1), 10**6)[0].forward_return == -9.0


def test_equally_similar_moments_come_in_order_of_time_whatever_the_order_of_their_insertion():
    episodes = [an_episode(10 * i, a_key(1), symbol=f"S{i % 3}") for i in range(20)]
    answers = []
    for order in (episodes, episodes[::-1], episodes[7:] + episodes[:7]):
        bank = a_bank(size=50, over_fetch=1)
        bank.remember(order)
        answers.append(bank.recall(a_key(1), 10**6, 5))
    assert found(answers[0]) == [(e.symbol, e.start_ms) for e in episodes[:5]]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        (np.full(DIMENSION, np.nan, np.float32), 0.01),
        (np.array([np.inf, 0, 0, 0], np.float32), 0.01),
        (np.array([0.9, 0, 0, 0], np.float32), 0.01),
        (np.array([1.0, 0, 0, 0], np.float64), 0.01),
        (np.array([1.0, 0, 0], np.float32), 0.01),
        (a_key(1), math.nan),
        (a_key(1), math.inf),
    ],
)
def test_a_broken_key_or_outcome_is_refused_and_nothing_is_remembered(key, outcome):
    bank = a_bank()
    with pytest.raises(BrokenInvariant):
        bank.remember([an_episode(0, a_key(1)), an_episode(1, key, forward_return=outcome)])
    assert len(bank) == 0


def test_base_rate_leaves_no_residue_after_eviction():
    rng = np.random.default_rng(6)
    bank, fresh = a_bank(size=50), a_bank(size=50)
    for i in range(2_000):
        scale = 1e6 if i % 40 == 0 and i < 1_900 else 1e-6
        episode = an_episode(i, a_key(1), forward_return=scale * rng.standard_normal())
        bank.remember([episode])
        if i >= 1_950:
            fresh.remember([episode])
    assert bank.base_rate(10**9) == fresh.base_rate(10**9)


def test_votes_fade_with_distance_and_with_age():
    episodes = [an_episode(0, a_key(1)), an_episode(10, a_key(1)), an_episode(20, a_key(1, 0.5))]
    plain = a_bank(temperature=0.1)
    plain.remember(episodes)
    oldest, newer, farther = plain.recall(a_key(1), 1_000 * STEP)
    assert sum(n.weight for n in (oldest, newer, farther)) == pytest.approx(1.0)
    assert oldest.weight == newer.weight
    gap = (oldest.similarity - farther.similarity) / 0.1
    assert farther.weight / oldest.weight == pytest.approx(math.exp(-gap))

    fading = a_bank(half_life_bars=10.0)
    fading.remember(episodes)
    votes = {n.bar_start_ms: n.weight for n in fading.recall(a_key(1), 1_000 * STEP)}
    assert votes[0] / votes[10 * STEP] == pytest.approx(0.5)


def test_the_self_test_tells_rows_that_keep_what_was_overwritten():
    class Forgetful(NumpyRows):
        def write(self, slot, key):
            if slot >= self._count:
                super().write(slot, key)

    assert overwrites_in_place(FaissRows(8, 8), 8, 8)
    assert overwrites_in_place(NumpyRows(8, 8), 8, 8)
    assert not overwrites_in_place(Forgetful(8, 8), 8, 8)


def test_without_faiss_in_place_the_bank_answers_the_same(monkeypatch):
    monkeypatch.setattr("bot.model.memory.overwrites_in_place", lambda *_: False)
    fallback = a_bank(size=30)
    monkeypatch.undo()
    usual = a_bank(size=30)
    assert (fallback.engine, usual.engine) == ("numpy", "faiss")
    rng = np.random.default_rng(8)
    for i in range(100):
        episode = an_episode(i, a_key(*rng.standard_normal(DIMENSION)), forward_return=rng.standard_normal())
        fallback.remember([episode])
        usual.remember([episode])
        key = a_key(*rng.standard_normal(DIMENSION))
        one, other = fallback.recall(key, i * STEP), usual.recall(key, i * STEP)
        assert found(one) == found(other)
        assert [n.weight for n in one] == pytest.approx([n.weight for n in other], rel=1e-4)


@pytest.mark.parametrize(
    "setting",
    [
        {"size": 0},
        {"neighbors": 0},
        {"temperature": 0.0},
        {"exclusion_bars": 0},
        {"half_life_bars": -1.0},
        {"sise": 5},
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(setting):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(setting, MemoryConfig)
