import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model.features import (
    FEATURES,
    RECEPTIVE_BARS,
    STATE_BARS,
    STATE_FEATURES,
    WINDOW_BARS,
    FeatureWindow,
    PlainEncoder,
    feature_row,
    key_of,
    log_return,
    state_row,
    windows_of,
)
from bot.model.regime import last_regimes
from bot.model.shape import last_shapes
from tests.factories import a_bar
from tests.model.walks import from_closes, walk

ENCODER = PlainEncoder()


def pushed(bars, capacity=RECEPTIVE_BARS):
    window = FeatureWindow(capacity)
    for bar in bars:
        window.push(bar)
    return window


@pytest.mark.parametrize("asked_every", [1, 7, RECEPTIVE_BARS - 1, 2 * RECEPTIVE_BARS + 3, 10**9])
def test_accessors_give_the_last_bars_oldest_first_however_often_the_window_has_wrapped(asked_every):
    bars = walk(5 * RECEPTIVE_BARS)
    window = FeatureWindow(RECEPTIVE_BARS)
    for i, bar in enumerate(bars):
        window.push(bar)
        last = bars[max(0, i - 4) : i + 1]
        assert window.closes(5).tolist() == [float(bar.close) for bar in last]
        known = bars[max(0, i + 1 - RECEPTIVE_BARS) : i + 1]
        assert len(window) == len(known)
        if i % asked_every == asked_every - 1 or bar is bars[-1]:
            assert window.opens(10_000).tolist() == [float(bar.open) for bar in known]
            assert window.highs(10_000).tolist() == [float(bar.high) for bar in known]
            assert window.lows(10_000).tolist() == [float(bar.low) for bar in known]
            assert window.volumes(10_000).tolist() == [float(bar.volume) for bar in known]
            assert window.opens(2).tolist() == [float(bar.open) for bar in last[-2:]]


def test_returns_and_key_are_what_their_definition_says():
    bars = walk(400)
    window = pushed(bars)
    closes = np.array([float(bar.close) for bar in bars])
    returns = np.diff(np.log(closes))
    assert window.returns(20) == pytest.approx(returns[-20:], rel=1e-9)

    weights = 0.97 ** np.arange(255, -1, -1)
    weights /= weights.sum()
    scaled = [
        returns[i] / math.sqrt(weights @ returns[i - 256 : i] ** 2)
        for i in range(len(returns) - 48, len(returns))
    ]
    scaled = np.clip(scaled, -6, 6)
    assert key_of(ENCODER, window) == pytest.approx(scaled / np.linalg.norm(scaled), rel=1e-5)
    assert window.volatility() == pytest.approx(math.sqrt(weights @ returns[-256:] ** 2))


def test_a_key_is_a_float32_vector_of_unit_length_once_enough_bars_are_known():
    window = FeatureWindow()
    for i, bar in enumerate(walk(RECEPTIVE_BARS + 5), start=1):
        window.push(bar)
        key = key_of(ENCODER, window)
        assert (key is None) == (i < RECEPTIVE_BARS)
        assert (feature_row(window) is None) == (i < 258)
    assert key is not None
    assert key.dtype == np.float32
    assert float(np.linalg.norm(key)) == pytest.approx(1.0, abs=1e-6)


def test_a_gap_starts_the_window_anew():
    bars = walk(RECEPTIVE_BARS + 1)
    window = pushed(bars[:-2])
    window.push(bars[-1])
    assert len(window) == 1
    assert len(window.returns(10)) == 0
    assert key_of(ENCODER, window) is None


def test_after_a_gap_nothing_from_before_it_is_left():
    before, after = walk(500, seed=1), walk(600, seed=2, first=700)
    window, fresh = pushed(before, 400), FeatureWindow(400)
    for bar in after:
        window.push(bar)
        fresh.push(bar)
        key, expected = key_of(ENCODER, window), key_of(ENCODER, fresh)
        assert (key is None and expected is None) or np.array_equal(key, expected)


@pytest.mark.parametrize("asked_every", [1, 7, 900])
def test_keys_and_rows_do_not_depend_on_when_observation_began_or_when_they_were_asked_for(asked_every):
    bars = walk(2_000)
    long_running = FeatureWindow(320)
    for i, bar in enumerate(bars):
        long_running.push(bar)
        if i % asked_every == 0:
            key_of(ENCODER, long_running)
        if i > 400 and i % 97 == 0:
            again = pushed(bars[i + 1 - RECEPTIVE_BARS : i + 1], 512)
            assert np.array_equal(key_of(ENCODER, again), key_of(ENCODER, long_running))
            assert np.array_equal(feature_row(again), feature_row(long_running))
            assert again.volatility() == long_running.volatility()
            older = pushed(bars[max(0, i - 500) : i + 1], 512).scaled_returns(200)
            known = long_running.scaled_returns(200)
            common = min(len(older), len(known))
            assert common >= 48
            assert np.array_equal(older[-common:], known[-common:])


def test_what_is_derived_of_many_bars_at_once_is_what_one_by_one_gives_bit_for_bit():
    rng = np.random.default_rng(1)
    bars = walk(1_500)
    one_by_one, in_blocks = FeatureWindow(700), FeatureWindow(700)
    end = 0
    while end < len(bars):
        n = int(rng.integers(1, 300))
        for bar in bars[end : end + n]:
            one_by_one.push(bar)
            one_by_one.returns(1)
            in_blocks.push(bar)
        end += n
        for name in ("returns", "squared_returns", "scaled_returns", "volatilities"):
            expected, found = (getattr(window, name)(700) for window in (one_by_one, in_blocks))
            assert np.array_equal(expected, found)
            assert len(found) == max(0, min(end, len(bars)) - _BEHIND[name]) or len(found) == 700
        assert one_by_one.volatility() == in_blocks.volatility()


_BEHIND = {"returns": 1, "squared_returns": 1, "scaled_returns": 257, "volatilities": 256}


def test_shapes_and_regimes_of_many_bars_are_those_of_each_bit_for_bit():
    window, shapes, regimes = FeatureWindow(), [], []
    for i, bar in enumerate(walk(1_300), start=1):
        window.push(bar)
        shapes.extend(last_shapes(window, 1))
        regimes.extend(last_regimes(window, 1))
        if i % 97 == 0:
            for n in (1, 2, 60, 256):
                found = last_shapes(window, n)
                assert len(found) == min(n, len(shapes))
                assert all(map(np.array_equal, found, shapes[len(shapes) - len(found) :]))
                assert last_regimes(window, n) == regimes[max(0, len(regimes) - n) :]
    assert len(shapes) == 1_300 - 304
    assert len(regimes) == 1_300 - 304


@given(st.integers(0, 40), st.integers(1, 12))
def test_windows_are_every_unbroken_stretch_of_their_length_in_order(count, length):
    run = np.arange(float(count))
    found = windows_of(run, length)
    assert found.tolist() == [list(range(i, i + length)) for i in range(count - length + 1)]
    assert all(row.flags.c_contiguous for row in found)


def test_poisoning_later_bars_changes_no_key():
    bars = walk(420)
    keys = []
    for end in (400, 420):
        window = FeatureWindow()
        poisoned = bars[:400] + from_closes([1e-3, 1e9] * 10, first=400)
        for bar in poisoned[:end]:
            window.push(bar)
            if bar.start_ms == bars[399].start_ms:
                keys.append(key_of(ENCODER, window))
    clean = pushed(bars[:400])
    assert np.array_equal(keys[0], keys[1])
    assert np.array_equal(keys[0], key_of(ENCODER, clean))


def test_a_market_that_stands_still_has_no_key_but_finite_features():
    window = pushed([a_bar(i, close="100", volume="0") for i in range(RECEPTIVE_BARS)])
    assert key_of(ENCODER, window) is None
    assert np.isfinite(feature_row(window)).all()
    window.push(a_bar(RECEPTIVE_BARS, close="100.01", volume="0"))
    assert key_of(ENCODER, window).tolist() == [0.0] * 47 + [1.0]
    assert window.scaled_returns(1).tolist() == [6.0]


LEAD = walk(300)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.sampled_from(["1e-320", "1e-8", "1", "1.0000001", "97", "1e300", "1e400"]),
        min_size=10,
        max_size=70,
    ),
    st.sampled_from(["0", "1e-30", "1e400"]),
)
def test_keys_and_rows_are_finite_for_any_valid_bar(prices, volume):
    window = pushed(LEAD)
    for i, price in enumerate(prices, start=300):
        window.push(a_bar(i, open=price, high=price, low=price, close=price, volume=volume))
        key, row = key_of(ENCODER, window), feature_row(window)
        assert key is None or float(np.linalg.norm(key)) == pytest.approx(1.0, abs=1e-6)
        assert row is None or (np.isfinite(row).all() and np.abs(row).max() <= 6.0)


def test_features_are_free_of_scale():
    bars = walk(300)
    tenfold = from_closes(
        [float(bar.close) * 10 for bar in bars], volumes=[float(bar.volume) for bar in bars]
    )
    assert feature_row(pushed(tenfold)) == pytest.approx(feature_row(pushed(bars)), abs=1e-3)
    assert len(feature_row(pushed(bars))) == len(FEATURES)


def test_a_log_return_is_finite_at_the_edge_of_what_a_float_holds():
    assert log_return(100.0, 110.0) == math.log(1.1)
    assert math.isfinite(log_return(0.0, math.inf))
    assert math.isfinite(log_return(5e-324, 1.7e308))


def test_a_window_too_small_for_a_key_is_refused():
    with pytest.raises(ValueError, match="at least 305"):
        FeatureWindow(304)


def test_a_state_row_knows_its_last_501_bars_alone_to_the_bit():
    bars = walk(2000)
    long = pushed(bars, WINDOW_BARS)
    short = pushed(bars[-STATE_BARS - 1 :], WINDOW_BARS)
    one, other = state_row(long), state_row(short)
    assert one is not None
    assert other is not None
    assert one.tobytes() == other.tobytes()
    assert state_row(pushed(bars[-STATE_BARS:], WINDOW_BARS)) is None


def test_a_state_row_begins_with_the_feature_row_and_ends_with_the_last_returns():
    window = pushed(walk(600), WINDOW_BARS)
    row, plain = state_row(window), feature_row(window)
    assert row is not None
    assert plain is not None
    assert row.shape == (len(STATE_FEATURES),)
    assert row[: len(plain)].tolist() == plain.tolist()
    assert row[-8:].tolist() == window.scaled_returns(8).astype(np.float32).tolist()
    assert row[-24:-8].tolist() == np.abs(window.scaled_returns(16)).astype(np.float32).tolist()


def test_a_state_row_is_the_same_at_another_price():
    closes = [float(bar.close) for bar in walk(600)]
    one, other = (
        state_row(pushed(from_closes(factor * close for close in closes), WINDOW_BARS))
        for factor in (1.0, 1000.0)
    )
    assert np.abs(one - other).max() < 1e-3


def test_a_state_row_is_finite_where_the_price_stands_still_or_leaps():
    still = [100.0] * 600
    leaping = [100.0 * (1e6 if i % 2 else 1.0) for i in range(600)]
    for closes in (still, leaping):
        row = state_row(pushed(from_closes(closes), WINDOW_BARS))
        assert row is not None
        assert np.isfinite(row).all()
        assert np.abs(row).max() <= 6.0
