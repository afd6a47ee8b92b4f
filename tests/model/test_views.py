import numpy as np
import pytest

from bot.model.features import RECEPTIVE_BARS
from bot.model.views import Cuttings, Run, ShapeConfig, draw_noise, draw_pairs, scaled_runs
from tests.model.walks import walk


def unit(windows):
    return windows / np.linalg.norm(windows, axis=1, keepdims=True)


def a_run(values, first_ms=0):
    return Run(first_ms + np.arange(len(values)), np.asarray(values, dtype=np.float64))


def test_runs_are_the_scaled_returns_of_unbroken_bars():
    bars = walk(RECEPTIVE_BARS + 100)
    after = walk(RECEPTIVE_BARS, seed=2, first=len(bars) + 5)
    first, second = scaled_runs(bars + after)
    assert first.start_ms[-1] == bars[-1].start_ms
    assert second.start_ms[-1] == after[-1].start_ms
    # The first 257 bars of a run only make its volatility known.
    assert (len(first), len(second)) == (len(bars) - 257, len(after) - 257)
    assert np.array_equal(scaled_runs(bars[:400])[0].scaled, first.scaled[:143])


def test_a_part_of_a_run_begins_at_its_first_moment_and_ends_before_its_last():
    run = a_run(range(10)).within(3, 7)
    assert run.start_ms.tolist() == [3, 4, 5, 6]
    assert run.scaled.tolist() == [3.0, 4.0, 5.0, 6.0]


def test_shapes_are_cut_from_one_run_each_and_every_place_has_its_turn():
    config = ShapeConfig(shortest=4, longest=4)
    cuttings = Cuttings([a_run([0, 1, 2, 3, 4]), a_run([9, 9]), a_run([10, 11, 12, 13, 14, 15])], config)
    cut = cuttings.cut(np.random.default_rng(1), 200)
    assert {tuple(row) for row in cut.tolist()} == {
        tuple(float(first + i) for i in range(4)) for first in (0, 1, 10, 11, 12)
    }


def test_runs_too_short_for_a_shape_are_refused():
    with pytest.raises(ValueError, match="44 unbroken bars"):
        Cuttings([a_run(range(43))], ShapeConfig())


def test_the_same_seed_draws_the_same_pairs():
    one, two = (draw_pairs(np.random.default_rng(5), ShapeConfig(), None, 20, 48) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = draw_pairs(np.random.default_rng(6), ShapeConfig(), None, 20, 48)
    assert not np.array_equal(one[0], other[0])


def test_views_are_scaled_returns_and_twins_are_more_alike_than_strangers():
    first, second = draw_pairs(np.random.default_rng(1), ShapeConfig(), None, 400, 48)
    assert first.shape == second.shape == (400, 48)
    assert np.abs(first).max() <= 6.0
    alike = unit(first) @ unit(second).T
    twins = np.diagonal(alike)
    assert twins.mean() > 0.15
    assert abs(alike[~np.eye(400, dtype=bool)].mean()) < 0.01


def test_without_warp_noise_and_jitter_two_views_are_one():
    config = ShapeConfig(
        warp=0.0, least_noise=0.0, at_end=1.0, after_end=0, jitter=0, drift=0.0, shortest=44, longest=44
    )
    first, second = draw_pairs(np.random.default_rng(1), config, None, 200, 44)
    # What is left differs by noise of 0 to 1 times the volatility.
    quiet = np.sort(np.diagonal(unit(first) @ unit(second).T))
    assert quiet[-20:].min() > 0.9


def test_shapes_come_from_the_bars_in_the_share_that_is_asked_for():
    config = ShapeConfig(simulated=0.25, warp=0.0, least_noise=0.0, drift=0.0, shortest=44, longest=44)
    # One shape only: all views that are cut from it are alike.
    wave = np.sin(np.arange(44) / 4.0)
    cuttings = Cuttings([a_run(wave)], config)
    first, _ = draw_pairs(np.random.default_rng(1), config, cuttings, 400, 44)
    target = np.array([np.corrcoef(row[-40:], wave[-40:])[0, 1] for row in first])
    simulated, cut = target[:100], target[100:]
    assert np.median(cut) > 0.5
    assert abs(np.median(simulated)) < 0.2


def test_noise_is_alike_to_nothing():
    noise = draw_noise(np.random.default_rng(1), 300, 48)
    alike = (unit(noise) @ unit(noise).T)[~np.eye(300, dtype=bool)]
    assert noise.shape == (300, 48)
    assert abs(alike.mean()) < 0.005
    assert noise.std() == pytest.approx(1.0, abs=0.1)


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="shortest is above longest"):
        ShapeConfig(shortest=50, longest=40)
