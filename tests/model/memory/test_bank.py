import math
from itertools import islice, pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import BrokenInvariant
from bot.model.memory.bank import MemoryBank
from bot.model.memory.moments import MemoryConfig
from bot.model.outcomes import MaturedMoment, Moment
from bot.model.shape import SHAPE_BARS

DIMENSION = 4
STEP = 10  # an interval of 10 ms keeps times readable
HORIZON = 3
EXCLUSION = 4


def a_key(*values, dimension=DIMENSION):
    key = np.zeros(dimension)
    key[: len(values)] = values
    return (key / np.linalg.norm(key)).astype(np.float32)


def an_episode(
    number, key, *, symbol="BTCUSDT", forward_return=0.01, regime="up/calm", horizon=HORIZON, shape=None
):
    start_ms = number * STEP
    return MaturedMoment(
        symbol=symbol,
        start_ms=start_ms,
        matured_ms=start_ms + (1 + horizon) * STEP,
        moment=Moment(key=key, regime=regime, volatility=0.01, shape=shape),
        forward_return=forward_return,
    )


def a_bank(exclusion=EXCLUSION, key_share=1.0, **config):
    """A memory that compares keys alone, unless a share is named."""
    return MemoryBank(
        MemoryConfig(**config),
        dimension=DIMENSION,
        interval_ms=STEP,
        exclusion_bars=exclusion,
        key_share=key_share,
    )


def found(neighbors):
    return [(n.symbol, n.bar_start_ms) for n in neighbors]


class BruteForceBank:
    """What the bank promises, in the plainest way: a list, sorted at every question."""

    def __init__(self, size, over_fetch, key_share):
        self.size, self.over_fetch, self.key_share, self.kept = size, over_fetch, key_share, []

    def remember(self, episode):
        if (episode.symbol, episode.start_ms) not in [(e.symbol, e.start_ms) for e in self.kept]:
            self.kept = [*self.kept, episode][-self.size :]

    def recall(self, key, views, now_ms, k):
        # Rounded, so that the order does not hang on a last bit.
        def by_key(episode):
            return round(float(episode.moment.key.astype(float) @ key), 5)

        def together(episode):
            alike = max(float(episode.moment.shape.astype(float) @ view) for view in views)
            return round(self.key_share * by_key(episode) + (1 - self.key_share) * alike, 5)

        allowed = [
            e for e in self.kept if e.matured_ms <= now_ms and e.start_ms + STEP <= now_ms - EXCLUSION * STEP
        ]
        allowed.sort(key=lambda e: (-by_key(e), e.start_ms, e.symbol))
        count = self.over_fetch * k
        while True:
            chosen = []
            for episode in sorted(allowed[:count], key=together, reverse=True):
                if all(abs(episode.start_ms - other.start_ms) >= EXCLUSION * STEP for other, _ in chosen):
                    chosen.append((episode, together(episode)))
            if len(chosen) >= k or count > len(allowed):
                return chosen[:k]
            count *= 4

    def base_rate(self, now_ms):
        outcomes = [e.forward_return for e in self.kept if e.matured_ms <= now_ms]
        rises = [1.0 if r > 0 else 0.5 if r == 0 else 0.0 for r in outcomes]
        count = len(outcomes)
        if not count:
            return 0, 0.0, 0.0, 0.5
        sizes = [abs(outcome) for outcome in outcomes]
        return count, math.fsum(outcomes) / count / 0.01, math.fsum(sizes) / count / 0.01, sum(rises) / count


def unit(rows):
    rows = np.asarray(rows, dtype=float)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


# Directions far enough apart that no two similarities differ by rounding alone; some coincide.
DIRECTIONS = [a_key(*np.random.default_rng(7 + i).standard_normal(DIMENSION)) for i in range(12)]
SHAPES = list(unit(np.random.default_rng(30).standard_normal((5, SHAPE_BARS))))
VIEWS = [unit(np.random.default_rng(40 + i).standard_normal((9, SHAPE_BARS))) for i in range(4)]
directions = st.sampled_from(DIRECTIONS)
inserts = st.tuples(
    st.just("remember"),
    st.integers(0, 25),
    st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"]),
    directions,
    st.sampled_from(SHAPES),
    st.sampled_from([-0.5, -0.013, 0.0, 0.007, 1.25]),
    st.integers(HORIZON, HORIZON + 9),
)
questions = st.tuples(
    st.just("recall"), st.integers(0, 36), directions, st.sampled_from(VIEWS), st.integers(1, 6)
)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 9),
    st.lists(st.one_of(inserts, inserts, questions), min_size=20, max_size=70),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_bank_answers_as_brute_force_does(capacity, actions, over_fetch, key_share):
    bank = a_bank(size=capacity, over_fetch=over_fetch, key_share=key_share)
    truth = BruteForceBank(capacity, over_fetch, key_share)
    for action in actions:
        if action[0] == "remember":
            _, number, symbol, key, shape, outcome, horizon = action
            episode = an_episode(
                number, key, symbol=symbol, forward_return=outcome, horizon=horizon, shape=shape
            )
            bank.remember([episode])
            truth.remember(episode)
        else:
            _, now, key, views, k = action
            neighbors = bank.recall(key, now * STEP, k, views=views)
            expected = truth.recall(key, views, now * STEP, k)
            assert found(neighbors) == [(e.symbol, e.start_ms) for e, _ in expected]
            assert [n.similarity for n in neighbors] == pytest.approx([s for _, s in expected], abs=2e-5)
            assert [(n.forward_return, n.regime) for n in neighbors] == [
                (e.forward_return, e.moment.regime) for e, _ in expected
            ]
            base = bank.base_rate(now * STEP)
            count, mean, size, ratio = truth.base_rate(now * STEP)
            assert base.moments == count
            assert base.mean_move == pytest.approx(mean, abs=1e-13)
            assert base.mean_absolute_move == pytest.approx(size, abs=1e-13)
            assert base.rise_rate == ratio
        assert len(bank) == len(truth.kept)


class SlidingArrays:
    """The same promise over arrays that are never overwritten: fast enough to be asked very often."""

    def __init__(self, keys, shapes, starts, matured, size, over_fetch, key_share):
        self.keys, self.shapes, self.starts, self.matured = keys, shapes, starts, matured
        self.size, self.over_fetch, self.key_share = size, over_fetch, key_share

    def recall(self, end, key, views, now_ms, k):
        """Starts and similarities out of the last ``size`` rows before ``end``."""
        rows = np.arange(max(0, end - self.size), end)
        allowed = (self.matured[rows] <= now_ms) & (self.starts[rows] + STEP <= now_ms - EXCLUSION * STEP)
        rows = rows[allowed]
        by_key = self.keys[rows] @ key
        order = np.argsort(-by_key)
        count = self.over_fetch * k
        while True:
            near = order[:count]
            alike = (self.shapes[rows[near]] @ views.T).max(axis=1, initial=-1.0)
            together = self.key_share * by_key[near] + (1 - self.key_share) * alike
            chosen = []
            for i in np.argsort(-together):
                start = self.starts[rows[near[i]]]
                if all(abs(start - other) >= EXCLUSION * STEP for other, _ in chosen):
                    chosen.append((int(start), float(together[i])))
            if len(chosen) >= k or count > len(rows):
                return chosen[:k]
            count *= 4


def test_a_million_inserts_evictions_and_questions_give_not_one_unmatured_or_wrong_neighbour():
    rng = np.random.default_rng(12)
    size, batch, batches, k = 24, 40, 12_200, 3
    inserts = batch * batches
    keys = unit(rng.standard_normal((inserts, DIMENSION)))
    shapes = unit(rng.standard_normal((977, SHAPE_BARS)))[np.arange(inserts) % 977]
    horizons = rng.integers(HORIZON, HORIZON + 12, inserts)
    starts = np.arange(inserts) * STEP
    bank = a_bank(size=size, over_fetch=2, key_share=0.5)
    truth = SlidingArrays(keys, shapes, starts, starts + (1 + horizons) * STEP, size, 2, 0.5)
    episodes = (an_episode(i, keys[i], horizon=int(horizons[i]), shape=shapes[i]) for i in range(inserts))
    asked = 0
    for end in range(batch, inserts + 1, batch):
        bank.remember(list(islice(episodes, batch)))
        for _ in range(2):
            key, views = keys[rng.integers(inserts)], VIEWS[rng.integers(len(VIEWS))]
            # As of any time from before all that is kept to after it.
            now_ms = int(end - size + rng.integers(-2, size + 20)) * STEP
            neighbors = bank.recall(key, now_ms, k, views=views)
            expected = truth.recall(end, key, views, now_ms, k)
            assert [n.bar_start_ms for n in neighbors] == [start for start, _ in expected]
            assert [n.similarity for n in neighbors] == pytest.approx([s for _, s in expected], abs=1e-5)
            asked += 1
    assert inserts + (inserts - size) + asked > 1_000_000


def test_a_moment_that_was_played_slower_is_found_by_its_shape_at_another_speed():
    bank = a_bank(size=10, exclusion=1, key_share=0.5)
    slow = VIEWS[0][6]
    bank.remember([an_episode(0, a_key(1, 0.3), shape=SHAPES[0]), an_episode(5, a_key(1, 0.4), shape=slow)])
    nearest, other = bank.recall(a_key(1), 10**6, 2, views=VIEWS[0])
    assert nearest.bar_start_ms == 5 * STEP
    assert nearest.similarity == pytest.approx(0.5 / math.hypot(1, 0.4) + 0.5, abs=1e-6)
    by_key = a_bank(size=10, exclusion=1)
    by_key.remember([an_episode(0, a_key(1, 0.3)), an_episode(5, a_key(1, 0.4))])
    assert by_key.recall(a_key(1), 10**6, 2)[0].bar_start_ms == other.bar_start_ms == 0


def test_a_memory_that_compares_shapes_refuses_moments_and_queries_without_one():
    bank = a_bank(key_share=0.5)
    with pytest.raises(BrokenInvariant, match="shape is missing"):
        bank.remember([an_episode(0, a_key(1))])
    bank.remember([an_episode(0, a_key(1), shape=SHAPES[0])])
    with pytest.raises(BrokenInvariant, match="without views"):
        bank.recall(a_key(1), 10**6)


def test_votes_of_another_regime_weigh_less_where_that_is_asked_for():
    episodes = [an_episode(0, a_key(1), regime="up/calm"), an_episode(10, a_key(1), regime="down/calm")]
    for weight, expected in ((1.0, 0.5), (0.25, 0.2)):
        bank = a_bank(other_regime_weight=weight)
        bank.remember(episodes)
        calm, wild = bank.recall(a_key(1), 10**6, regime="up/calm")
        assert (calm.regime, wild.regime) == ("up/calm", "down/calm")
        assert wild.weight == pytest.approx(expected)


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


def test_without_faiss_in_place_the_bank_answers_the_same(monkeypatch):
    monkeypatch.setattr("bot.model.memory.index.overwrites_in_place", lambda *_: False)
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


def test_episodes_remembered_together_are_remembered_as_if_one_by_one():
    """Some known already, some twice in one go, and more at once than the ring holds."""
    rng = np.random.default_rng(2)
    for size in (1, 7, 40):
        single, together = (a_bank(size=size, neighbors=5, key_share=0.5) for _ in range(2))
        number = 0
        for _ in range(60):
            numbers = np.maximum(0, number + rng.integers(-6, 14, int(rng.integers(0, 3 * size))))
            number = max([number, *numbers.tolist()])
            episodes = [
                an_episode(
                    int(i),
                    DIRECTIONS[int(i) % 12],
                    symbol=str(rng.choice(["BTCUSDT", "ETHUSDT"])),
                    forward_return=0.01 * float(rng.standard_normal()),
                    shape=SHAPES[int(i) % 5],
                )
                for i in numbers
            ]
            together.remember(episodes)
            for episode in episodes:
                single.remember([episode])
            now_ms = (number + 10) * STEP
            assert len(single) == len(together)
            for at_ms in (now_ms, now_ms // 2):
                assert single.base_rate(at_ms) == together.base_rate(at_ms)
            for key, views in zip(DIRECTIONS[:3], VIEWS, strict=False):
                answer = together.recall(key, now_ms, views=views)
                assert answer == single.recall(key, now_ms, views=views)
        assert len(together) == size


def test_of_episodes_that_come_together_none_is_kept_where_one_is_not_sound():
    bank = a_bank(size=8)
    sound = [an_episode(i, DIRECTIONS[i]) for i in range(3)]
    with pytest.raises(BrokenInvariant, match="BTCUSDT at 70 is not of unit length"):
        bank.remember([*sound, an_episode(7, 2 * DIRECTIONS[0]), *sound])
    assert len(bank) == 0
