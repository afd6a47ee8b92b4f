import gc
import math

import numpy as np
import pytest

from bot.model.features import FeatureWindow, PlainEncoder, key_of
from bot.model.network.encoder import WindowEncoder, WindowNetwork, build_encoder, unit_scale
from bot.model.network.streaming import StreamingTransformer, TransformerEncoder
from tests.factories import a_bar
from tests.model.network import reference
from tests.model.walks import from_closes, walk

NETWORKS = [
    WindowNetwork(width=96, blocks=2),
    StreamingTransformer(),
    StreamingTransformer(patch=5, width=24, layers=3, heads=2, attention_bars=9, inner=40, dimension=16),
]
ROUNDING = 5e-6


def weights_of(network, seed=1):
    """Random weights of the size that training begins with, norms and biases included."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.standard_normal(shape) / math.sqrt(shape[-1])
            if len(shape) == 2
            else 1.0 * name.endswith("norm.weight") + 0.1 * rng.standard_normal(shape)
        ).astype(np.float32)
        for name, shape in network.shapes().items()
    }


def encoder_of(network, seed=1):
    return build_encoder(network, weights_of(network, seed))


def keys_of(encoder, bars, window=None):
    """The key after each bar, one by one."""
    window = FeatureWindow(max(1024, encoder.receptive_bars)) if window is None else window
    keys = []
    for bar in bars:
        window.push(bar)
        keys.append(key_of(encoder, window))
    return keys


def scaled_of(bars):
    window = FeatureWindow(len(bars))
    for bar in bars:
        window.push(bar)
    return window.scaled_returns(len(bars)).copy()


@pytest.mark.parametrize("network", NETWORKS)
def test_a_key_is_a_float32_vector_of_unit_length_once_its_bars_are_known(network):
    encoder = encoder_of(network)
    keys = keys_of(encoder, walk(encoder.receptive_bars + 2))
    assert [key is not None for key in keys] == [False] * (encoder.receptive_bars - 1) + [True] * 3
    assert keys[-1].dtype == np.float32
    assert keys[-1].shape == (encoder.dimension,)
    assert float(np.linalg.norm(keys[-1])) == pytest.approx(1.0, abs=1e-6)
    assert not np.allclose(keys[-1], keys[-2], atol=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_pass_over_a_history_gives_the_keys_that_its_bars_give_one_by_one(network):
    encoder = encoder_of(network)
    # Longer than a chunk of the pass, and than the room that a stream has.
    bars = walk(1_000)
    one_by_one = np.stack([key for key in keys_of(encoder, bars) if key is not None])
    at_once = encoder.keys(scaled_of(bars))
    assert at_once.dtype == np.float32
    assert np.array_equal(at_once, one_by_one)


@pytest.mark.parametrize("network", NETWORKS[1:])
def test_a_transformers_keys_are_those_of_its_definition_in_plain_numpy(network):
    scaled = np.random.default_rng(5).standard_normal(700)
    expected = reference.transformer_keys(network, weights_of(network), scaled)
    keys = encoder_of(network).keys(scaled)
    assert keys.shape == expected.shape
    assert float(np.abs(keys - expected).max()) <= ROUNDING


@pytest.mark.parametrize("encoder", [*map(encoder_of, NETWORKS), PlainEncoder()])
def test_a_key_has_the_same_bits_together_with_however_many_others(encoder):
    rng = np.random.default_rng(3)
    bars = walk(900) + walk(500, seed=2, first=901)
    expected = [key if key is None else key.copy() for key in keys_of(encoder, bars)]
    for _ in range(6):
        window, end = FeatureWindow(1_024), 0
        while end < len(bars):
            n = min(int(rng.integers(1, 257)), len(bars) - end)
            # A block ends before a gap: what lies behind it is gone.
            n = min(n, 900 - end) if end < 900 else n
            for bar in bars[end : end + n]:
                window.push(bar)
            end += n
            keys = encoder.last_keys(window, n)
            known = [key for key in expected[end - n : end] if key is not None]
            assert keys.shape == (len(known), encoder.dimension)
            assert all(map(np.array_equal, keys, known))


def test_a_window_key_has_the_same_bits_wherever_its_window_stands_in_a_pass():
    rng = np.random.default_rng(4)
    network = WindowNetwork()
    encoder = encoder_of(network)
    scaled = rng.standard_normal(1_500)
    whole = encoder.keys(scaled)
    for _ in range(150):
        first, count = int(rng.integers(1_400)), int(rng.choice([1, 2, 3, 7, 16, 40, 200]))
        run = scaled[first : first + count + network.bars - 1]
        keys = encoder.keys(run)
        assert np.array_equal(keys, whole[first : first + len(keys)])


@pytest.mark.parametrize("network", NETWORKS)
def test_too_short_a_history_has_no_keys(network):
    encoder = encoder_of(network)
    assert encoder.keys(np.ones(network.bars - 1)).shape == (0, encoder.dimension)
    assert encoder.keys(np.ones(network.bars)).shape == (1, encoder.dimension)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_that_begins_later_has_the_same_keys_bit_for_bit(network):
    encoder = encoder_of(network)
    bars = walk(900)
    uninterrupted = keys_of(encoder, bars)
    for begin in (1, 200, 590):
        restarted = keys_of(encoder, bars[begin:])
        known = encoder.receptive_bars - 1
        assert len(restarted) > known
        for ours, theirs in zip(restarted[known:], uninterrupted[begin + known :], strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("network", NETWORKS)
def test_after_a_gap_nothing_from_before_it_is_left(network):
    encoder = encoder_of(network)
    before, after = walk(400, seed=1), walk(400, seed=2, first=401)
    fresh = keys_of(encoder, after)
    for ours, theirs in zip(keys_of(encoder, before + after)[400:], fresh, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or np.array_equal(ours, theirs)


@pytest.mark.parametrize("network", NETWORKS)
def test_bars_that_nobody_asked_a_key_of_change_no_later_key(network):
    encoder = encoder_of(network)
    bars = walk(450)
    asked_always, window = keys_of(encoder, bars), FeatureWindow()
    for i, bar in enumerate(bars):
        window.push(bar)
        if i > 320 and i % 7 in (0, 1, 5):
            assert np.array_equal(key_of(encoder, window), asked_always[i])
            assert np.array_equal(key_of(encoder, window), asked_always[i])  # asked twice


@pytest.mark.parametrize("network", NETWORKS)
def test_symbols_do_not_mix(network):
    encoder = encoder_of(network)
    bars, others = walk(340, seed=1), walk(340, seed=2)
    alone, window, other = keys_of(encoder, bars), FeatureWindow(), FeatureWindow()
    for i, (bar, foreign) in enumerate(zip(bars, others, strict=True)):
        window.push(bar)
        other.push(foreign)
        key_of(encoder, other)
        key = key_of(encoder, window)
        assert (key is None and alone[i] is None) or np.array_equal(key, alone[i])


@pytest.mark.parametrize("network", NETWORKS)
def test_poisoning_later_bars_changes_no_key(network):
    encoder = encoder_of(network)
    bars = walk(400)
    clean = keys_of(encoder, bars)[:350]
    poisoned = keys_of(encoder, bars[:350] + from_closes([1e-3, 1e9] * 25, first=350))[:350]
    for ours, theirs in zip(clean, poisoned, strict=True):
        assert (ours is None and theirs is None) or np.array_equal(ours, theirs)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_key_depends_on_no_bar_beyond_its_reach(network):
    scaled = np.random.default_rng(1).standard_normal(network.bars + 1)
    encoder = encoder_of(network)
    changed = np.concatenate(([scaled[0] + 3.0], scaled[1:]))
    assert np.array_equal(encoder.keys(scaled)[1], encoder.keys(changed)[1])
    assert not np.allclose(encoder.keys(scaled)[0], encoder.keys(changed)[0], atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_market_that_stood_still_has_no_key_until_it_moves(network):
    encoder = encoder_of(network)
    still = [a_bar(i, close="100", volume="0") for i in range(encoder.receptive_bars)]
    keys = keys_of(encoder, [*still, a_bar(len(still), close="100.01", volume="0")])
    assert keys[-2] is None
    assert np.isfinite(keys[-1]).all()


def test_a_window_key_is_free_of_amplitude():
    encoder = encoder_of(WindowNetwork())
    scaled = 0.3 * np.random.default_rng(1).standard_normal(48)
    assert encoder.keys(4.0 * scaled)[0] == pytest.approx(encoder.keys(scaled)[0], abs=1e-6)


def test_a_window_network_without_blocks_is_what_its_definition_says():
    network = WindowNetwork(bars=3, width=2, blocks=1, dimension=2)
    weights = {name: np.zeros(shape, np.float32) for name, shape in network.shapes().items()}
    weights["in.weight"][:] = [[1, 0, 0], [0, 2, 0]]
    weights["out.weight"][:] = [[1, 1], [0, 0]]
    weights["skip.weight"][:] = [[0, 0, 0], [0, 0, 1]]
    scaled = np.array([3.0, -1.0, 2.0])
    a, b, c = scaled / math.sqrt(14 / 3)

    def silu(x):
        return x / (1 + math.exp(-x))

    expected = np.array([silu(a) + silu(2 * b), c])
    encoder = build_encoder(network, weights)
    assert isinstance(encoder, WindowEncoder)
    assert encoder.keys(scaled)[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_attention_knows_distances_and_no_positions():
    """The same bars at another place in the pass have the same keys, up to rounding."""
    network = StreamingTransformer()
    encoder = encoder_of(network)
    scaled = np.random.default_rng(1).standard_normal(600)
    shifted = np.concatenate((np.random.default_rng(2).standard_normal(37), scaled))
    assert np.abs(encoder.keys(shifted)[37:] - encoder.keys(scaled)).max() <= ROUNDING
    # And the order of what it looks at matters.
    swapped = scaled[: network.bars].copy()
    swapped[[10, 30]] = swapped[[30, 10]]
    assert np.abs(encoder.keys(swapped)[0] - encoder.keys(scaled)[0]).max() > 1e-3


def test_a_window_that_is_gone_leaves_no_stream_behind():
    encoder = encoder_of(StreamingTransformer())
    assert isinstance(encoder, TransformerEncoder)
    window = FeatureWindow()
    keys_of(encoder, walk(310), window)
    assert len(encoder._streams) == 1
    del window
    gc.collect()
    assert len(encoder._streams) == 0


def test_weights_that_do_not_fit_are_refused():
    network = WindowNetwork(width=8)
    weights = weights_of(network)
    with pytest.raises(ValueError, match=r"disagree on in\.bias"):
        build_encoder(network, {name: value for name, value in weights.items() if name != "in.bias"})
    with pytest.raises(ValueError, match=r"in\.bias is float64"):
        build_encoder(network, weights | {"in.bias": np.zeros(8)})
    with pytest.raises(ValueError, match=r"in\.bias is not finite"):
        build_encoder(network, weights | {"in.bias": np.full(8, np.nan, np.float32)})
    with pytest.raises(ValueError, match="does not give 5 heads"):
        StreamingTransformer(width=96, heads=5)


def test_unit_scale_keeps_the_shape_of_returns_too_small_to_be_squared():
    assert unit_scale(np.array([3e-200, -3e-200])).tolist() == [1.0, -1.0]
    assert unit_scale(np.zeros(2)).tolist() == [0.0, 0.0]
