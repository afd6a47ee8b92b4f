import numpy as np
import pytest
import torch

from bot.model.training import pairs
from bot.model.training.pairs import ShapeSampler
from bot.model.training.views import ContiguousReturns, ShapeConfig


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draw_pairs(*args):
    return tuple(view.numpy() for view in pairs.draw_pairs(*args))


def unit(windows):
    return windows / np.linalg.norm(windows, axis=1, keepdims=True)


def a_run(values):
    return ContiguousReturns(np.arange(len(values)), np.asarray(values, dtype=np.float64))


def test_shapes_are_cut_from_one_run_each_and_every_place_has_its_turn():
    config = ShapeConfig(min_bars=4, max_bars=4)
    sampler = ShapeSampler([a_run([0, 1, 2, 3, 4]), a_run([9, 9]), a_run([10, 11, 12, 13, 14, 15])], config)
    cut = sampler.sample(seeded(1), 200)
    assert {tuple(row) for row in cut.tolist()} == {
        tuple(float(first + i) for i in range(4)) for first in (0, 1, 10, 11, 12)
    }


def test_runs_too_short_for_a_shape_are_refused():
    with pytest.raises(ValueError, match="44 contiguous bars"):
        ShapeSampler([a_run(range(43))], ShapeConfig())


def test_the_same_seed_draws_the_same_pairs():
    one, two = (draw_pairs(seeded(5), ShapeConfig(), None, 20, 48) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = draw_pairs(seeded(6), ShapeConfig(), None, 20, 48)
    assert not np.array_equal(one[0], other[0])


def test_views_are_scaled_returns_and_twins_are_more_alike_than_strangers():
    first, second = draw_pairs(seeded(1), ShapeConfig(), None, 400, 48)
    assert first.shape == second.shape == (400, 48)
    assert np.abs(first).max() <= 6.0
    alike = unit(first) @ unit(second).T
    twins = np.diagonal(alike)
    assert twins.mean() > 0.15
    assert abs(alike[~np.eye(400, dtype=bool)].mean()) < 0.01


def test_without_warp_noise_and_jitter_two_views_are_one():
    config = ShapeConfig(
        warp=0.0, min_noise=0.0, at_end=1.0, after_end=0, jitter=0, drift=0.0, min_bars=44, max_bars=44
    )
    first, second = draw_pairs(seeded(1), config, None, 200, 44)
    # What is left differs by noise of 0 to 1 times the volatility.
    quiet = np.sort(np.diagonal(unit(first) @ unit(second).T))
    assert quiet[-20:].min() > 0.9


def test_shapes_come_from_the_bars_in_the_share_that_is_asked_for():
    config = ShapeConfig(simulated=0.25, warp=0.0, min_noise=0.0, drift=0.0, min_bars=44, max_bars=44)
    # One shape only: all views that are cut from it are alike.
    wave = np.sin(np.arange(44) / 4.0)
    sampler = ShapeSampler([a_run(wave)], config)
    first, _ = draw_pairs(seeded(1), config, sampler, 400, 44)
    target = np.array([np.corrcoef(row[-40:], wave[-40:])[0, 1] for row in first])
    simulated, cut = target[:100], target[100:]
    assert np.median(cut) > 0.5
    assert abs(np.median(simulated)) < 0.2


def test_noise_is_alike_to_nothing():
    noise = pairs.draw_noise(seeded(1), 300, 48).numpy()
    alike = (unit(noise) @ unit(noise).T)[~np.eye(300, dtype=bool)]
    assert noise.shape == (300, 48)
    assert abs(alike.mean()) < 0.005
    assert noise.std() == pytest.approx(1.0, abs=0.1)


def test_a_return_is_scaled_by_what_those_before_it_left():
    returns = 3.0 * torch.randn((5, 60), generator=seeded(2))
    scaled = pairs._scaled(seeded(1), returns)
    variance = (returns[:, 0] / scaled[:, 0]).square()
    for i in range(60):
        expected = (returns[:, i] / variance.sqrt()).clamp(-6.0, 6.0)
        assert torch.allclose(scaled[:, i], expected, rtol=1e-4)
        variance = 0.97 * variance + 0.03 * returns[:, i].square()


def test_a_simulated_shape_is_autoregressive():
    config = ShapeConfig(min_smoothness=0.6, max_smoothness=0.6)
    steps = pairs._simulated(seeded(1), config, 2000)[:, 20:].numpy()
    assert np.corrcoef(steps[:, :-1].ravel(), steps[:, 1:].ravel())[0, 1] == pytest.approx(0.6, abs=0.02)
    assert np.corrcoef(steps[:, :-2].ravel(), steps[:, 2:].ravel())[0, 1] == pytest.approx(0.36, abs=0.02)
