import subprocess
import sys

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from bot.evaluation.metrics import crps
from bot.model.odds import LEVELS, Odds, OddsNetwork
from bot.model.training.forecaster import (
    OddsTrainingConfig,
    forward,
    pinball,
    recall_crps,
    split,
    squared_distances,
    standings,
    train_odds,
)
from bot.model.training.material import OddsRows
from tests.model.test_odds import NETWORK, some_memory, some_weights

STEP_MS = 3_600_000
SMALL = OddsNetwork(inputs=3, width=32, dimension=4, horizons=(1, 4))
SHORT = OddsTrainingConfig(steps=80, queries=128, candidates=512, averaging=0.9, validate_every=20)


def regimes(count=6000, seed=1):
    """Outcomes as wide as a regime says, which the first input shows; the other two say nothing."""
    rng = np.random.default_rng(seed)
    calm = np.repeat(rng.random(count // 50) < 0.5, 50)
    rows = rng.standard_normal((count, 3)).astype(np.float32)
    rows[:, 0] = np.where(calm, -1.0, 1.0) + 0.3 * rows[:, 0]
    outcomes = rng.standard_normal((count, 2)) * np.where(calm, 0.4, 1.5)[:, None]
    return OddsRows(rows, outcomes, STEP_MS * np.arange(count), STEP_MS)


def test_numpy_and_torch_say_the_same():
    weights = some_weights()
    rows = some_memory()[2]
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    states, scales = (each.numpy() for each in standings(NETWORK, tensors, torch.from_numpy(rows)))
    told = forward(tensors, torch.from_numpy(rows), "head").numpy().reshape(len(rows), 3, len(LEVELS))
    odds = Odds(NETWORK, weights)
    for i, h in enumerate(NETWORK.horizons):
        state, scale = odds.standings(rows, h)
        assert np.abs(state - states).max() < 5e-6
        assert scale == pytest.approx(scales[:, i], rel=1e-5)
    assert np.abs(odds.heads(rows) - np.sort(told, axis=-1)).max() < 5e-6


def test_the_loss_is_the_crps_of_the_weighted_outcomes():
    rng = np.random.default_rng(1)
    scores, outcomes, came = rng.standard_normal((5, 40)), rng.standard_normal(40), rng.standard_normal(5)
    scores[2, :10] = -np.inf
    scales = np.exp(rng.standard_normal(5))
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    recalled = scales[:, None] * outcomes
    gaps = np.abs(recalled[:, :, None] - recalled[:, None])
    expected = (weights * np.abs(recalled - came[:, None])).sum(axis=1) - 0.5 * np.einsum(
        "ni,nij,nj->n", weights, gaps, weights
    )
    told = recall_crps(*(torch.from_numpy(each) for each in (scores, outcomes, came, scales)))
    assert told.numpy() == pytest.approx(expected, abs=1e-9)


def test_the_heads_loss_is_what_evaluation_measures():
    rng = np.random.default_rng(1)
    quantiles, came = np.sort(rng.standard_normal((6, 2, len(LEVELS)))), rng.standard_normal((6, 2))
    told = pinball(torch.from_numpy(quantiles.reshape(6, -1)).float(), torch.from_numpy(came).float())
    for i in range(2):
        assert told[:, i].numpy() == pytest.approx(crps(quantiles[:, i], came[:, i]), abs=1e-6)


def test_distances_are_squared_ones():
    rng = np.random.default_rng(1)
    some, others = rng.standard_normal((4, 3)), rng.standard_normal((7, 3))
    expected = ((some[:, None] - others) ** 2).sum(axis=2)
    assert squared_distances(torch.from_numpy(some), torch.from_numpy(others)).numpy() == pytest.approx(
        expected
    )


def test_what_is_kept_unseen_begins_after_every_outcome_that_was_trained_on():
    training, unseen = split(regimes(), SHORT, reach_bars=24)
    assert unseen.start_ms[0] - training.start_ms[-1] > SHORT.embargo_bars * STEP_MS
    training, unseen = split(regimes(), SHORT, reach_bars=100)
    assert unseen.start_ms[0] - training.start_ms[-1] > 100 * STEP_MS
    assert 500 - 100 <= len(unseen) <= 600


def test_where_the_odds_depend_on_a_state_memory_and_head_find_it():
    trained = train_odds(SMALL, regimes(), config=SHORT)
    odds = Odds(SMALL, trained.weights)
    past, later = regimes(seed=2), regimes(2000, seed=3)
    for i, h in enumerate(SMALL.horizons):
        came = later.outcomes[:, i]
        head = odds.at(odds.heads(later.rows), h)
        memory, shares = recalled_from(odds, past, later, i)
        blend = odds.blends(head, memory, shares, h)
        plain = crps(np.tile(np.quantile(past.outcomes[:, i], LEVELS), (len(later), 1)), came).mean()
        for told in (head, memory, blend):
            assert crps(told, came).mean() < 0.95 * plain
        # The mean of two forecasts' quantiles is never worse than the mean of their scores.
        assert crps(blend, came).mean() < max(crps(head, came).mean(), crps(memory, came).mean())


def recalled_from(odds, past, later, i):
    """What all of the past says of later moments at the ``i``-th horizon: quantiles and shares."""
    h = odds.network.horizons[i]
    states, units = odds.standings(past.rows, h)
    outcomes = past.outcomes[:, i] / units
    order = np.argsort(outcomes)
    known = np.ones((len(later), len(past)), np.bool_)
    return odds.recalled_by(states[order], outcomes[order], odds.standings(later.rows, h), h, known)


def scaled_material(count, seed):
    """Outcomes of one distribution times a scale that the first input shows, over a wide range."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 3)).astype(np.float32)
    truth = np.exp(0.5 * rows[:, :1].astype(np.float64))
    outcomes = rng.standard_normal((count, 2)) * np.hstack((truth, truth**-1.0))
    return OddsRows(rows, outcomes, STEP_MS * np.arange(count), STEP_MS), np.hstack((truth, truth**-1.0))


def test_a_planted_scale_is_learned_by_horizon():
    past, _ = scaled_material(6000, seed=1)
    later, truth = scaled_material(2000, seed=3)
    odds = Odds(SMALL, train_odds(SMALL, past, config=replace(SHORT, steps=200)).weights)
    for i, h in enumerate(SMALL.horizons):
        learned = np.log(odds.standings(later.rows, h).scale)
        # One factor for all of them is free: what is remembered by it is told by it.
        slope, _ = np.polyfit(np.log(truth[:, i]), learned, 1)
        assert np.corrcoef(np.log(truth[:, i]), learned)[0, 1] > 0.95
        assert 0.5 < slope < 1.2
        # With the scale, moments far off are of use: nearly as good as knowing the truth.
        memory, _ = recalled_from(odds, past, later, i)
        known = np.quantile(np.random.default_rng(2).standard_normal(100_000), LEVELS) * truth[:, i, None]
        came = later.outcomes[:, i]
        plain = crps(np.tile(np.quantile(past.outcomes[:, i], LEVELS), (len(later), 1)), came).mean()
        best, told = crps(known, came).mean(), crps(memory, came).mean()
        assert told - best < 0.2 * (plain - best)


def test_without_a_state_that_matters_nothing_is_made_up():
    material = regimes()
    shuffled = replace_outcomes(material, np.random.default_rng(5).permutation(material.outcomes))
    odds = Odds(SMALL, train_odds(SMALL, shuffled, config=SHORT).weights)
    later = regimes(2000, seed=3)
    came = np.random.default_rng(6).permutation(later.outcomes[:, 0])
    plain = crps(np.tile(np.quantile(came, LEVELS), (len(later), 1)), came).mean()
    head = odds.at(odds.heads(later.rows), 1)
    assert plain <= crps(head, came).mean() < 1.03 * plain


def replace_outcomes(material, outcomes):
    return OddsRows(material.rows, outcomes, material.start_ms, material.interval_ms)


def test_two_trainings_of_one_seed_give_the_same_weights():
    config = replace(SHORT, steps=10)
    one, other = (train_odds(SMALL, regimes(), config=config) for _ in range(2))
    assert one.history == other.history
    for name, value in one.weights.items():
        assert value.tobytes() == other.weights[name].tobytes()
    another = train_odds(SMALL, regimes(), config=replace(config, seed=2))
    assert another.weights["state.out.weight"].tobytes() != one.weights["state.out.weight"].tobytes()


def test_a_moment_never_learns_from_its_own_surroundings():
    # Each outcome repeats for 50 bars and is told by nothing else: only the near past could be of help.
    rng = np.random.default_rng(1)
    episode = np.repeat(rng.standard_normal(120), 50)
    rows = np.column_stack([np.repeat(rng.standard_normal(120), 50) for _ in range(3)]).astype(np.float32)
    material = OddsRows(rows, np.column_stack((episode, episode)), STEP_MS * np.arange(6000), STEP_MS)
    histories = [
        train_odds(SMALL, material, config=replace(SHORT, embargo_bars=apart)).weights["log_temperature"]
        for apart in (1, 72)
    ]
    # Where it may look at its neighbors in time, it narrows its sight to them.
    assert histories[0].mean() > histories[1].mean()


def test_too_few_moments_are_refused():
    with pytest.raises(ValueError, match="odds need 640 moments"):
        train_odds(SMALL, regimes(500), config=SHORT)


def test_odds_are_read_without_torch():
    code = "import sys; import bot.model.odds, bot.model.similarity; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
