from itertools import pairwise

import numpy as np
import pytest

from bot.model.features import KEY_BARS, RECEPTIVE_BARS
from bot.model.memory.moments import MemoryConfig
from bot.model.network.encoder import WindowNetwork
from bot.model.similarity import SimilarityModel
from tests.model.network.test_encoder import encoder_of
from tests.model.walks import STEP_MS, from_closes, walk

HORIZON = 6


def a_model(**config):
    return SimilarityModel(MemoryConfig(**config), interval="15", horizon_bars=HORIZON)


def test_what_is_missing_is_said_in_words():
    model = a_model()
    bars = walk(RECEPTIVE_BARS + KEY_BARS)
    answers = [model.observe(bar) for bar in bars]
    assert answers[11].missing == "12 of 305 unbroken bars known"
    assert answers[11].regime is None
    first_key = RECEPTIVE_BARS - 1
    assert answers[first_key].missing == "no moment has had its outcome yet"
    assert answers[first_key].regime is not None
    assert answers[first_key + HORIZON + 1].missing == "none of the 1 known moments is far enough back"
    assert answers[first_key + 24].forecast is not None
    assert answers[first_key + 24].missing == ""

    still = a_model()
    answers = [still.observe(bar) for bar in from_closes([100.0] * RECEPTIVE_BARS)]
    assert answers[-1].missing == "the price has not moved in the last 48 bars"


def test_no_neighbour_is_unmatured_or_near_or_overlapping_with_several_symbols():
    model = a_model(neighbors=8, size=400)
    feeds = [walk(900, seed=s, symbol=symbol) for s, symbol in enumerate(("ADAUSDT", "BTCUSDT"))]
    checked = 0
    for together in zip(*feeds, strict=True):
        for bar in together:
            recollection = model.observe(bar)
            starts = sorted(n.bar_start_ms for n in recollection.neighbors)
            assert all(b - a >= 24 * STEP_MS for a, b in pairwise(starts))
            for neighbor in recollection.neighbors:
                closed_ms = neighbor.bar_start_ms + STEP_MS
                assert closed_ms + HORIZON * STEP_MS <= bar.close_ms
                assert closed_ms + 24 * STEP_MS <= bar.close_ms
                checked += 1
            if recollection.neighbors:
                assert sum(recollection.regime_votes.values()) == pytest.approx(1.0)
    assert checked > 5_000


@pytest.mark.parametrize(("horizon", "apart", "nearest"), [(1, 24, 24), (24, 24, 25), (40, 40, 41)])
def test_one_horizon_is_that_of_outcomes_maturity_and_exclusion(horizon, apart, nearest):
    """What ends with a bar is remembered behind its own question: the nearest is one bar beyond a horizon."""
    bars = walk(700)
    closes = {bar.start_ms: float(bar.close) for bar in bars}
    model = SimilarityModel(MemoryConfig(size=400), interval="15", horizon_bars=horizon)
    recalled = [(bar, model.observe(bar).neighbors) for bar in bars]
    distances, last = [], ()
    for bar, neighbors in recalled:
        starts = sorted(n.bar_start_ms for n in neighbors)
        assert all(b - a >= apart * STEP_MS for a, b in pairwise(starts))
        distances += [bar.start_ms - start for start in starts]
        last = neighbors or last
    assert min(distances) == nearest * STEP_MS
    for neighbor in last:
        start = neighbor.bar_start_ms
        expected = np.log(closes[start + horizon * STEP_MS] / closes[start])
        assert neighbor.forward_return == pytest.approx(expected, rel=1e-12)


def test_neighbours_carry_the_outcome_that_the_bars_had():
    bars = walk(700)
    closes = {bar.start_ms: float(bar.close) for bar in bars}
    model = a_model(neighbors=5)
    for bar in bars:
        recollection = model.observe(bar)
    assert recollection.neighbors
    for neighbor in recollection.neighbors:
        start = neighbor.bar_start_ms
        expected = np.log(closes[start + HORIZON * STEP_MS] / closes[start])
        assert neighbor.forward_return == pytest.approx(expected, rel=1e-12)


def test_poisoning_the_future_changes_no_recollection_before_it():
    bars, poison = walk(800), from_closes([1.0, 1e6] * 100, first=600)
    honest, poisoned = a_model(), a_model()
    for i in range(800):
        answer = honest.observe(bars[i])
        other = poisoned.observe(bars[i] if i < 600 else poison[i - 600])
        if i < 600:
            assert answer == other
    assert answer != other


def test_history_observed_without_recalling_leaves_the_same_memory():
    bars = walk(900)
    always, quiet = a_model(), a_model()
    for i, bar in enumerate(bars):
        answer = always.observe(bar)
        other = quiet.observe(bar, recall=i >= 700)
        assert other == (answer if i >= 700 else None)


def a_market(bars):
    """Two symbols of which one pauses, in order of closes."""
    first, other = walk(bars), walk(bars // 2, seed=2, symbol="ETHUSDT")
    other += walk(bars // 2 - 9, seed=3, symbol="ETHUSDT", first=bars // 2 + 9)
    return sorted(first + other, key=lambda bar: (bar.start_ms, bar.symbol))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("size", [150, 100_000])
def test_a_history_taken_in_at_once_leaves_what_one_bar_after_another_leaves(trained, size):
    bars = a_market(1_300)
    encoder = encoder_of(WindowNetwork(bars=40, width=64)) if trained else None
    config = MemoryConfig(size=size, neighbors=6, calibration_bars=300)

    def model():
        return SimilarityModel(config, interval="15", horizon_bars=HORIZON, encoder=encoder)

    cut = len(bars) - 80
    one_by_one, at_once, spared, mixed = (model() for _ in range(4))
    for bar in bars[:cut]:
        one_by_one.observe(bar, recall=False)
    at_once.observe_all(bars[:cut])
    spared.observe_all(bars[:cut], bars[cut].close_ms)
    rng, end = np.random.default_rng(5), 0
    while end < cut:
        n = min(int(rng.integers(0, 400)), cut - end)
        mixed.observe_all(bars[end : end + n])
        end += n
        if end < cut:
            mixed.observe(bars[end])
            end += 1
    votes = set()
    for bar in bars[cut:]:
        answer = one_by_one.observe(bar)
        for other in (at_once, spared, mixed):
            assert other.observe(bar) == answer
        votes.add(answer.forecast.calibration.n_votes)
    assert min(votes) > 20
    # Those that are out of date were not even cast.
    assert len(spared._calibration._scored) < len(at_once._calibration._scored)


def test_a_memory_that_stands_still_stands_still_for_a_whole_history():
    bars = walk(900)
    one_by_one, at_once = a_model(), a_model()
    for model in (one_by_one, at_once):
        model.observe_all(bars[:600])
    known = len(at_once.memory)
    for bar in bars[600:800]:
        one_by_one.observe(bar, recall=False, remember=False)
    at_once.observe_all(bars[600:800], remember=False)
    assert len(at_once.memory) == known
    for bar in bars[800:]:
        assert one_by_one.observe(bar) == at_once.observe(bar)


def test_a_restart_that_observes_the_remembered_bars_again_recalls_the_same_bit_for_bit():
    bars = walk(1_500)
    size, calibration = 300, 320
    running = a_model(size=size, calibration_bars=calibration)
    for bar in bars[:1_400]:
        running.observe(bar, recall=False)
    restarted = a_model(size=size, calibration_bars=calibration)
    needed = RECEPTIVE_BARS + size + HORIZON + calibration + HORIZON
    for bar in bars[1_400 - needed : 1_400]:
        restarted.observe(bar, recall=False)
    for bar in bars[1_400:]:
        answer = running.observe(bar)
        assert answer == restarted.observe(bar)
        assert answer.forecast.calibration.n_votes in (19, 20)


def test_a_moment_whose_window_or_horizon_spans_a_gap_is_not_remembered():
    model = a_model()
    before, after = walk(400), walk(400, seed=2, first=401)
    for bar in before:
        model.observe(bar)
    known = len(model.memory)
    assert known == 400 - (RECEPTIVE_BARS - 1) - HORIZON
    for i, bar in enumerate(after, start=1):
        model.observe(bar)
        assert len(model.memory) == known + max(0, i - (RECEPTIVE_BARS - 1) - HORIZON)


def test_a_model_that_does_not_remember_keeps_windows_only():
    model = SimilarityModel(MemoryConfig(), interval="15", horizon_bars=HORIZON, remembers=False)
    bars = walk(400)
    assert [model.observe(bar) for bar in bars] == [None] * 400
    assert model.window("BTCUSDT").closes(1).tolist() == [float(bars[-1].close)]
    assert len(model.window("ETHUSDT")) == 0


def test_a_recurring_shape_is_recalled_with_what_followed_it():
    rng = np.random.default_rng(9)
    shape = 0.01 * rng.standard_normal(KEY_BARS)
    shape -= shape.mean()
    pieces = [0.002 * rng.standard_normal(RECEPTIVE_BARS)]
    for _ in range(12):
        pieces += [shape, np.full(HORIZON, 0.004), 0.002 * rng.standard_normal(40)]
    pieces += [shape]
    model = a_model(neighbors=10)
    for bar in from_closes(100.0 * np.exp(np.cumsum(np.concatenate(pieces)))):
        recollection = model.observe(bar)
    assert recollection.neighbors[9].similarity > 0.9
    assert all(n.forward_return > 0.02 for n in recollection.neighbors)
    assert recollection.forecast.p_value < 0.01
    assert recollection.forecast.rise_probability > 0.7
