import math

import numpy as np
import pytest

from bot.model.features import STATE_BARS, STATE_FEATURES, FeatureWindow, state_row
from bot.model.memory.moments import MemoryConfig
from bot.model.odds import LEVELS, Odds, OddsNetwork, Recalled
from bot.model.outlook import QUANTILE_LEVELS, outlook_of
from bot.model.similarity import SimilarityModel
from tests.model.test_odds import some_weights
from tests.model.walks import STEP_MS, from_closes, walk

HORIZON = 6
NETWORK = OddsNetwork(inputs=len(STATE_FEATURES), width=16, dimension=5)
ODDS = Odds(NETWORK, some_weights(NETWORK))
ROW = np.random.default_rng(3).standard_normal(NETWORK.inputs).astype(np.float32)


def a_model(odds=ODDS, **config):
    return SimilarityModel(MemoryConfig(**config), interval="15", horizon_bars=HORIZON, odds=odds)


def outlooks(model, bars):
    return [None if a.forecast is None else a.forecast.outlook for a in map(model.observe, bars)]


def test_the_blend_lies_between_head_and_memory_as_far_as_the_gate_says():
    memory = np.linspace(-3.0, 2.0, len(LEVELS))
    outlook = outlook_of(ODDS, ROW, Recalled(memory, 0.8, 700.0), 24, 0.01)
    assert outlook.gate == pytest.approx(0.8 * ODDS.gate(24))
    assert outlook.null == pytest.approx(0.2)
    unit = 0.01 * math.sqrt(24)
    head = ODDS.at(ODDS.head(ROW), 24)
    for i, level in enumerate(QUANTILE_LEVELS):
        place = round(20 * level) - 1
        assert outlook.head[i] == pytest.approx(unit * head[place])
        assert outlook.recalled[i] == pytest.approx(unit * memory[place])
        blended = outlook.gate * outlook.recalled[i] + (1 - outlook.gate) * outlook.head[i]
        assert outlook.quantiles[i] == pytest.approx(blended)
    assert outlook.std == pytest.approx((outlook.quantiles[-1] - outlook.quantiles[0]) / 3.29, rel=1e-3)


def test_without_a_memory_the_gate_is_closed_and_the_head_speaks_alone():
    outlook = outlook_of(ODDS, ROW, None, 24, 0.01)
    assert (outlook.gate, outlook.null, outlook.effective_sample_size, outlook.recalled) == (
        0.0,
        1.0,
        0.0,
        None,
    )
    assert outlook.quantiles == outlook.head


def test_the_head_s_probability_of_a_rise_is_where_its_quantiles_pass_zero():
    for shift, expected in ((0.0, 0.5), (100.0, 0.95), (-100.0, 0.05)):
        weights = {name: np.zeros_like(value) for name, value in some_weights(NETWORK).items()}
        weights["inputs.spread"] += 1.0
        weights["head.out.bias"] = np.tile(LEVELS - 0.5 + shift, 3).astype(np.float32)
        outlook = outlook_of(Odds(NETWORK, weights), ROW, None, 24, 0.01)
        assert outlook.head_ratio == pytest.approx(expected, abs=1e-6)


def test_an_outlook_comes_with_the_forecast_once_enough_bars_are_known():
    answers = outlooks(a_model(neighbors=4), walk(STATE_BARS + 60))
    assert all(outlook is None for outlook in answers[:STATE_BARS])
    # The first state is there, and none yet whose outcome is known.
    first = answers[STATE_BARS]
    assert (first.gate, first.recalled) == (0.0, None)
    assert first.quantiles == first.head
    assert 0.0 < answers[-1].gate < ODDS.gate(HORIZON)
    assert answers[-1].recalled is not None


def test_return_std_is_the_spread_of_the_outlook():
    model = a_model(neighbors=4)
    for bar in walk(STATE_BARS + 60):
        forecast = model.observe(bar).forecast
    assert forecast.return_std == forecast.outlook.std


def test_no_moments_asked_leaves_the_head_alone_and_no_odds_leave_none():
    bars = walk(STATE_BARS + 60)
    alone = outlooks(a_model(odds_moments=0), bars)[-1]
    assert (alone.gate, alone.recalled) == (0.0, None)
    assert outlooks(a_model(odds=None), bars)[-1] is None


def test_what_is_recalled_are_the_outcomes_of_the_moments_that_may_be_known():
    """As worked out by hand from the bars, for a state that weighs all moments alike.

    Each outcome is measured in the scale of its own close, and told in that of the close that asks.
    """
    weights = some_weights(NETWORK)
    weights["log_temperature"] = np.full(3, -60.0, np.float32)
    bars = walk(STATE_BARS + 200)
    odds = Odds(NETWORK, weights)
    model = a_model(odds, neighbors=4, size=1_000)
    window, moments = FeatureWindow(), []
    for i, bar in enumerate(bars):
        outlook = outlooks(model, [bar])[0]
        window.push(bar)
        if (row := state_row(window)) is not None:
            unit = window.volatility() * float(odds.standing(row, HORIZON).scale)
            moments.append((i, unit))
        if outlook is None or outlook.recalled is None:
            continue
        # Closed, over, and outside of the exclusion zone of 24 bars.
        known = [(j, then) for j, then in moments if j + 24 <= i]
        assert outlook.effective_sample_size == pytest.approx(len(known), rel=1e-4)
        scaled = [math.log(float(bars[j + HORIZON].close) / float(bars[j].close)) / then for j, then in known]
        expected = np.quantile(scaled, QUANTILE_LEVELS, method="inverted_cdf") * unit
        nearby = np.sort(scaled) * unit
        for told, wanted in zip(outlook.recalled, expected, strict=True):
            # A level that falls between two moments may go either way by rounding.
            place = np.searchsorted(nearby, wanted - 1e-12)
            assert np.abs(nearby[max(0, place - 1) : place + 2] - told).min() < 1e-9


def test_poisoning_the_future_changes_no_outlook_before_it():
    bars, poison = walk(900), from_closes([1.0, 1e6] * 100, first=700)
    honest, poisoned = a_model(), a_model()
    for i in range(900):
        answer = honest.observe(bars[i])
        other = poisoned.observe(bars[i] if i < 700 else poison[i - 700])
        if i < 700:
            assert answer == other
    assert answer.forecast.outlook != other.forecast.outlook


@pytest.mark.parametrize("odds_moments", [80, 8_192])
def test_a_restart_sees_the_same_outlook_bit_for_bit_and_believes_the_head_as_far(odds_moments):
    feeds = [walk(1_900, seed=s, symbol=symbol) for s, symbol in enumerate(("ADAUSDT", "BTCUSDT"))]
    bars = [bar for together in zip(*feeds, strict=True) for bar in together]
    config = {"size": 400, "calibration_bars": 320, "odds_moments": odds_moments, "neighbors": 8}
    running, restarted, at_once = (a_model(**config) for _ in range(3))
    cut = 2 * 1_700
    for bar in bars[:cut]:
        running.observe(bar)
    needed = 2 * (STATE_BARS + 1 + 200 + HORIZON + 320 + HORIZON)
    assert needed < cut
    for bar in bars[cut - needed : cut]:
        restarted.observe(bar, recall=False)
    at_once.observe_all(bars[cut - needed : cut], bars[cut].close_ms)
    heads = set()
    for bar in bars[cut:]:
        answer = running.observe(bar)
        assert answer == restarted.observe(bar) == at_once.observe(bar)
        assert answer.forecast.outlook.gate > 0.0
        heads.add(answer.forecast.calibration.head_slope)
    assert len(heads) > 1


def test_a_state_row_of_an_earlier_bar_is_what_it_was_at_its_own_close():
    window, kept = FeatureWindow(), []
    for bar in walk(900):
        window.push(bar)
        kept.append(state_row(window))
        for back in (0, 1, 7, 255):
            before = kept[len(kept) - 1 - back] if back < len(kept) else None
            row = state_row(window, back)
            assert (row is None) == (before is None)
            assert row is None or row.tobytes() == before.tobytes()
    assert kept[STATE_BARS - 1] is None
    assert kept[STATE_BARS] is not None


def test_after_a_gap_there_is_no_outlook_until_enough_unbroken_bars_are_known():
    model = a_model(neighbors=4)
    outlooks(model, walk(700))
    after = walk(STATE_BARS + 2, seed=2, first=701)
    assert after[0].start_ms > walk(700)[-1].start_ms + STEP_MS
    answers = outlooks(model, after)
    assert all(outlook is None for outlook in answers[:STATE_BARS])
    assert answers[STATE_BARS].gate > 0.0
