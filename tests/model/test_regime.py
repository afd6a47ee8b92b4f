import numpy as np

from bot.model.features import RECEPTIVE_BARS, FeatureWindow
from bot.model.regime import REGIMES, last_regimes
from tests.model.walks import from_closes, walk


def regime_of(window):
    newest = last_regimes(window, 1)
    return newest[0] if newest else None


def regime_after(returns):
    window = FeatureWindow()
    for bar in from_closes(100.0 * np.exp(np.cumsum(returns))):
        window.push(bar)
    return regime_of(window)


def noise(bars, seed=1):
    draws = np.random.default_rng(seed).standard_normal(bars)
    return 0.001 * (draws - draws[-96:].mean())


def test_a_regime_is_known_once_as_many_bars_are_known_as_a_key_needs():
    window = FeatureWindow()
    for i, bar in enumerate(walk(RECEPTIVE_BARS), start=1):
        window.push(bar)
        assert (regime_of(window) is None) == (i < RECEPTIVE_BARS)


def test_a_trend_beyond_its_standard_error_is_up_or_down_and_noise_is_sideways():
    assert regime_after(noise(400)).startswith("sideways/")
    assert regime_after(noise(400) + 0.0005).startswith("up/")
    assert regime_after(noise(400) - 0.0005).startswith("down/")


def test_moves_above_their_usual_size_are_turbulent_and_below_it_calm():
    wild, quiet = noise(400), noise(400)
    wild[-24:] *= 3.0
    quiet[-24:] *= 0.3
    assert regime_after(wild).endswith("/turbulent")
    assert regime_after(quiet).endswith("/calm")


def test_a_market_that_stands_still_is_sideways_and_calm():
    assert regime_after(np.zeros(400)) == "sideways/calm"


def test_a_regime_depends_on_the_receptive_bars_alone():
    bars = walk(1_500)
    long_running = FeatureWindow(1_024)
    seen = set()
    for i, bar in enumerate(bars):
        long_running.push(bar)
        seen.add(regime_of(long_running))
        if i >= RECEPTIVE_BARS and i % 31 == 0:
            again = FeatureWindow(900)
            for recent in bars[i + 1 - RECEPTIVE_BARS : i + 1]:
                again.push(recent)
            assert regime_of(again) == regime_of(long_running)
    assert seen - {None} == set(REGIMES)
