import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from bot.model.network.encoder import WindowNetwork, build_encoder, unit_scale
from bot.model.network.streaming import StreamingTransformer
from bot.model.training.encoder import TrainingConfig, contrastive_loss, forward, initial, train
from bot.model.training.pairs import ShapeSampler
from bot.model.training.views import ContiguousReturns, ShapeConfig
from tests.model.network.test_encoder import NETWORKS, ROUNDING, weights_of

SMALL = WindowNetwork(width=32, blocks=1, dimension=16)
SHORT = TrainingConfig(steps=60, pairs=64, negatives=32, warmup_steps=10, validate_every=20)


@pytest.mark.parametrize("network", [*NETWORKS, WindowNetwork()])
def test_the_encoder_is_what_was_trained(network):
    weights = weights_of(network)
    scaled = np.clip(2.0 * np.random.default_rng(3).standard_t(4, 700), -6, 6)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, network.bars)
    rows = unit_scale(windows) if isinstance(network, WindowNetwork) else windows.astype(np.float32)
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    theirs = forward(network, tensors, torch.from_numpy(rows.copy())).numpy()
    ours = build_encoder(network, weights).keys(scaled)
    assert float(np.abs(ours - theirs).max()) <= ROUNDING


def test_loss_is_that_of_choosing_ones_twin():
    # Two pairs: orthogonal twins found for sure, at a scale of 1 with probability e / (1 + e).
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(contrastive_loss(keys, 2, torch.tensor(0.0))) == pytest.approx(math.log(1 + math.exp(-1)))
    # A negative like the first view is one more to be taken in.
    more = torch.cat((keys, torch.tensor([[1.0, 0.0]])))
    first = math.log((2 * math.e + 1) / math.e)
    second = math.log((2 + math.e) / math.e)
    assert float(contrastive_loss(more, 2, torch.tensor(0.0))) == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(
    "network",
    [SMALL, StreamingTransformer(width=32, heads=2, inner=32, dimension=16)],
    ids=["window", "transformer"],
)
def test_training_finds_more_twins_and_two_runs_give_the_same_weights(network):
    told = []
    runs = [
        train(
            network,
            None,
            None,
            config=SHORT,
            shapes=ShapeConfig(),
            on_step=lambda done, total: told.append((done, total)),
        )
        for _ in range(2)
    ]
    assert runs[0].history == runs[1].history
    assert runs[0].weights.keys() == network.shapes().keys()
    for name, weights in runs[0].weights.items():
        assert weights.dtype == np.float32
        assert np.array_equal(weights, runs[1].weights[name])
    assert runs[0].history[-1].loss < runs[0].history[0].loss
    assert told[:60] == [(i, 60) for i in range(1, 61)]
    build_encoder(network, runs[0].weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("network", NETWORKS)
def test_a_gpu_trains_by_the_same_code(network):
    shapes = ShapeConfig()
    runs = [ContiguousReturns(np.arange(500), np.random.default_rng(1).standard_t(5, 500))]
    trained = train(network, ShapeSampler(runs, shapes), None, config=SHORT, shapes=shapes)
    assert trained.device == "cuda"
    assert trained.history[-1].loss < trained.history[0].loss
    # What a GPU trained is what a CPU reads.
    scaled = np.random.default_rng(2).standard_t(5, 200)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, network.bars)
    rows = unit_scale(windows) if isinstance(network, WindowNetwork) else windows.astype(np.float32)
    on_gpu = {name: torch.from_numpy(value).cuda() for name, value in trained.weights.items()}
    theirs = forward(network, on_gpu, torch.from_numpy(rows.copy()).cuda()).cpu().numpy()
    ours = build_encoder(network, trained.weights).keys(scaled)
    assert float(np.abs(ours - theirs).max()) <= 2 * ROUNDING


def test_another_seed_gives_other_weights():
    one, other = (initial(SMALL, seed)["in.weight"] for seed in (1, 2))
    assert not torch.equal(one, other)


def test_training_ends_when_unseen_shapes_are_no_longer_found_better_and_keeps_the_best():
    # Nothing can be learned from 44 bars of one shape that holds for the other's.
    rng = np.random.default_rng(1)
    shapes = ShapeConfig(simulated=0.0)
    seen, unseen = (
        ShapeSampler([ContiguousReturns(np.arange(44), rng.standard_normal(44))], shapes) for _ in range(2)
    )
    config = TrainingConfig(
        steps=400, pairs=16, negatives=8, validate_every=5, patience=2, learning_rate=0.02, warmup_steps=1
    )
    trained = train(SMALL, seen, unseen, config=config, shapes=shapes)
    assert trained.steps < 400
    assert trained.steps == trained.history[-1].step
    assert trained.best.loss == min(look.loss for look in trained.history)
    assert trained.best.step < trained.steps


def test_nothing_but_training_imports_torch():
    modules = "bot.commands.live_session, bot.sessions.backtest, bot.commands.training, bot.store.checkpoints.folder"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
