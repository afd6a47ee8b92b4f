"""Fits an encoder to pairs of views of one shape.

The loss is symmetric InfoNCE (van den Oord et al., 2018): of all views in the batch and windows without any shape,
a view's twin must be the most similar, at a learned temperature. The same code runs on a CPU or a GPU; on one kind
of machine and number of threads two trainings with one seed give the same weights.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bot.model.network.encoder import Network, WindowNetwork
from bot.model.network.parameters import NORM_EPSILON
from bot.model.network.streaming import StreamingTransformer
from bot.model.training.pairs import ShapeSampler, draw_noise, draw_pairs
from bot.model.training.views import ShapeConfig, ValidationPoint

Weights = dict[str, Tensor]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class TrainingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an encoder is trained.

    Each of ``steps`` steps sees ``pairs`` pairs of views and ``negatives`` windows without a shape. The
    learning rate rises over ``warmup_steps`` and falls along a cosine. Every ``validate_every`` steps the
    loss on validation shapes is computed; the best weights are kept, and training ends after ``patience``
    validations without a better one. ``half`` multiplies matrices in bfloat16 on processors that support it,
    three times as fast.
    """

    seed: Annotated[int, Meta(ge=0)] = 1
    steps: Count = 6000
    pairs: Annotated[int, Meta(ge=2)] = 768
    negatives: Annotated[int, Meta(ge=0)] = 768
    learning_rate: Positive = 1.5e-3
    warmup_steps: Count = 200
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-3
    clip_norm: Positive = 1.0
    temperature: Positive = 0.1
    validate_every: Count = 250
    patience: Count = 16
    half: bool = True


class Trained(Struct, frozen=True, kw_only=True):
    """Weights as float32 arrays, and the course of the training. ``best`` is the validation they were chosen by."""

    weights: dict[str, NDArray[np.float32]]
    best: ValidationPoint
    history: tuple[ValidationPoint, ...]
    steps: int
    device: str


def train(
    network: Network,
    training: ShapeSampler | None,
    validation: ShapeSampler | None,
    *,
    config: TrainingConfig,
    shapes: ShapeConfig,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train a network from random weights.

    ``training`` and ``validation`` sample the bars that shapes are cut from (None: simulated shapes only).
    ``on_step`` gets the steps done and the steps at most.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = config.half and _has_bfloat16(device)
    generator = _generator(device, config.seed, 0)
    fixed = _Validation(network, validation, shapes, config, device)
    weights = {
        name: value.to(device).requires_grad_() for name, value in initial(network, config.seed).items()
    }
    log_scale = torch.tensor(-math.log(config.temperature), device=device, requires_grad=True)
    matrices = [value for value in weights.values() if value.ndim > 1]
    others = [value for value in weights.values() if value.ndim == 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": [*others, log_scale], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    history: list[ValidationPoint] = []
    best: dict[str, NDArray[np.float32]] = {}
    step = 0
    while step < config.steps:
        windows = _draw(generator, network, training, config, shapes)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            keys = forward(network, weights, windows).float()
        loss = contrastive_loss(keys, config.pairs, log_scale)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*weights.values(), log_scale], config.clip_norm)
        optimiser.step()
        schedule.step()
        step += 1
        on_step(step, config.steps)
        if step % config.validate_every == 0 or step == config.steps:
            history.append(fixed.evaluate(step, weights, log_scale))
            if history[-1].loss <= min(point.loss for point in history):
                best = {name: value.detach().cpu().numpy().copy() for name, value in weights.items()}
            elif _since_best(history) >= config.patience:
                break
    return Trained(
        weights=best,
        best=min(history, key=lambda point: point.loss),
        history=tuple(history),
        steps=step,
        device=device.type,
    )


def initial(network: Network, seed: int) -> Weights:
    """Random weights: norms have gain 1, biases are 0, matrices a variance of 1 / inputs."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in network.shapes().items():
        if len(shape) == 1:
            weights[name] = torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)
        else:
            weights[name] = torch.randn(shape, generator=generator) / math.sqrt(shape[1])
    return weights


def forward(network: Network, weights: Weights, windows: Tensor) -> Tensor:
    """Keys of windows: (n, bars) to (n, dimension), unit length; the encoder's own computation in torch.

    A :class:`WindowNetwork` expects windows of unit scale, a transformer scaled returns as they are.
    """
    if isinstance(network, WindowNetwork):
        return _window_network(network, weights, windows)
    return _transformer(network, weights, windows)


def contrastive_loss(keys: Tensor, pairs: int, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE. ``keys``: ``pairs`` first views, as many second ones, then negatives."""
    first, second, negatives = keys[:pairs], keys[pairs : 2 * pairs], keys[2 * pairs :]
    scale = log_scale.exp().clamp(max=100.0)
    twins = first @ second.T * scale  # (pairs, pairs)
    target = torch.arange(pairs, device=keys.device)
    forwards = F.cross_entropy(torch.cat((twins, first @ negatives.T * scale), dim=1), target)
    backwards = F.cross_entropy(torch.cat((twins.T, second @ negatives.T * scale), dim=1), target)
    return 0.5 * (forwards + backwards)


class _Validation:
    """Fixed pairs of views of shapes that are never trained on."""

    def __init__(
        self,
        network: Network,
        sampler: ShapeSampler | None,
        shapes: ShapeConfig,
        config: TrainingConfig,
        device: torch.device,
        batches: int = 4,
    ) -> None:
        generator = _generator(device, config.seed, 1)
        self._network = network
        self._pairs = config.pairs
        self._batches = [_draw(generator, network, sampler, config, shapes) for _ in range(batches)]

    @torch.no_grad()
    def evaluate(self, step: int, weights: Weights, log_scale: Tensor) -> ValidationPoint:
        losses, accuracies = [], []
        for windows in self._batches:
            keys = forward(self._network, weights, windows)
            losses.append(float(contrastive_loss(keys, self._pairs, log_scale)))
            nearest = (keys[: self._pairs] @ keys[self._pairs :].T).argmax(dim=1).cpu()
            accuracies.append(float((nearest == torch.arange(self._pairs)).float().mean()))
        return ValidationPoint(
            step=step,
            loss=math.fsum(losses) / len(losses),
            top1_accuracy=math.fsum(accuracies) / len(accuracies),
            temperature=math.exp(-float(log_scale)),
        )


def _since_best(history: list[ValidationPoint]) -> int:
    losses = [point.loss for point in history]
    return len(losses) - 1 - losses.index(min(losses))


def _rate(step: int, config: TrainingConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def _generator(device: torch.device, seed: int, use: int) -> torch.Generator:
    """One per seed and use (0 training, 1 validation), so that the two never draw the same numbers."""
    return torch.Generator(device).manual_seed(2 * seed + use)


def _has_bfloat16(device: torch.device) -> bool:
    # Without AVX-512 bfloat16 is emulated, and several times slower than whole floats.
    return device.type == "cuda" or "AVX512" in torch.backends.cpu.get_cpu_capability()


def _draw(
    generator: torch.Generator,
    network: Network,
    sampler: ShapeSampler | None,
    config: TrainingConfig,
    shapes: ShapeConfig,
) -> Tensor:
    """A batch of windows (2 pairs + negatives, bars): first views, second ones, and those without a shape."""
    first, second = draw_pairs(generator, shapes, sampler, config.pairs, network.bars)
    windows = torch.cat((first, second, draw_noise(generator, config.negatives, network.bars)))
    if isinstance(network, WindowNetwork):
        windows = windows / windows.square().mean(dim=1, keepdim=True).sqrt()
    return windows


def _window_network(network: WindowNetwork, w: Weights, x: Tensor) -> Tensor:
    h = F.silu(F.linear(x, w["in.weight"], w["in.bias"]))  # (n, width)
    for i in range(network.blocks):
        name = f"block{i}"
        h = h + F.silu(F.linear(_norm(h, w, f"{name}.norm"), w[f"{name}.weight"], w[f"{name}.bias"]))
    return _unit(F.linear(h, w["out.weight"], w["out.bias"]) + F.linear(x, w["skip.weight"]))


def _transformer(network: StreamingTransformer, w: Weights, x: Tensor) -> Tensor:
    reach = network.attention_bars
    h = F.linear(x.unfold(1, network.patch, 1), w["in.weight"], w["in.bias"])  # (n, tokens, width)
    for i in range(network.layers):
        normed = _norm(h, w, f"layer{i}.norm")
        rows = F.linear(normed, w[f"layer{i}.key_value.weight"], w[f"layer{i}.key_value.bias"])
        key, value = (_heads(part, network.heads) for part in rows.chunk(2, dim=-1))
        # Only tokens with a whole past are kept: what the last one depends on, and nothing else.
        h, normed = h[:, reach - 1 :], normed[:, reach - 1 :]
        query = F.linear(normed, w[f"layer{i}.query.weight"], w[f"layer{i}.query.bias"])
        at = torch.arange(key.shape[2], device=x.device)
        turned = _turned(network, _heads(query, network.heads), slice(reach - 1, len(at)))
        scores = turned @ _turned(network, key, slice(len(at))).transpose(-1, -2)
        scores = scores / math.sqrt(key.shape[-1])
        distance = at[reach - 1 :, None] - at
        outside = (distance < 0) | (distance >= reach)  # (tokens left, tokens)
        mixed = scores.masked_fill(outside, -math.inf).softmax(dim=-1) @ value
        h = h + F.linear(mixed.transpose(1, 2).flatten(-2), w[f"layer{i}.attended.weight"])
        name = f"layer{i}.mlp"
        inner = F.linear(_norm(h, w, f"{name}.norm"), w[f"{name}.up.weight"], w[f"{name}.up.bias"])
        h = h + F.linear(F.silu(inner), w[f"{name}.down.weight"], w[f"{name}.down.bias"])
    return _unit(F.linear(_norm(h[:, -1], w, "norm"), w["out.weight"], w["out.bias"]))


def _heads(x: Tensor, heads: int) -> Tensor:
    """(n, tokens, width) to (n, heads, tokens, width / heads)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _turned(network: StreamingTransformer, x: Tensor, at: slice) -> Tensor:
    """Heads (n, heads, tokens, d) of the tokens ``at`` those places, turned by their positions.

    Two of them then differ by their distance alone.
    """
    cos, sin = (each[at].to(x.dtype) for each in _turns(network, x.device))
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@lru_cache
def _turns(network: StreamingTransformer, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles: (tokens, d / 2) each."""
    at = torch.arange(network.tokens, device=device)
    turns = torch.from_numpy(network.turns()).to(device)
    angle = (at[:, None] * turns % network.period) * (2.0 * math.pi / network.period)
    return angle.cos(), angle.sin()


def _norm(x: Tensor, w: Weights, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], NORM_EPSILON)


def _unit(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=-1, keepdim=True).sqrt()
