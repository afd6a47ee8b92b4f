"""Fits the quantile forecast: states and head at once, then null slots and gates.

The loss of the states is the exact CRPS of what a recall would forecast: the outcomes of other moments, weighted by
the distance of their states and multiplied by the query's scale. The loss of the head is that of its quantiles. On
one kind of machine and number of threads two trainings with one seed give the same weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta, Struct, field
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bot.model.odds import LEVELS, MAX_LOG_SCALE, Odds, OddsNetwork
from bot.model.training.material import OddsRows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = dict[str, Tensor]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]

_TEMPERATURE_RATE = 10.0
"""Learning rate of a temperature over that of a weight."""

_GATE_PENALTY = 3e-4
"""Penalty in CRPS on a gate's squared distance from equal parts: the validation span is short."""


class OddsTrainingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the quantile forecast is trained.

    In each of ``steps`` steps ``queries`` moments are forecast from the outcomes of ``candidates`` others, drawn from
    the whole training span but for those closer than ``embargo_bars``. On the last ``validation_fraction`` of the
    span the best weights are chosen every ``validate_every`` steps, and null slots and gates are fitted, with a memory
    of at most ``memory`` moments: as many as a running bot uses, since the null slot competes with the sum of them.
    """

    seed: Annotated[int, Meta(ge=0)] = 1
    steps: Count = 400
    queries: Count = 384
    candidates: Count = 3072
    embargo_bars: Count = field(default=72, name="apart_bars")
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.15
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 2e-2
    validation_fraction: Annotated[float, Meta(gt=0, lt=1)] = field(default=0.1, name="unseen_share")
    averaging: Annotated[float, Meta(ge=0, lt=1)] = 0.98
    validate_every: Count = 25
    memory: Count = 8_192


class OddsValidationPoint(Struct, frozen=True, kw_only=True):
    """Validation after ``step`` steps: CRPS of the memory (``recall``) and of the head, mean over the horizons."""

    step: int
    recall: float
    head: float


class ValidationScores(Struct, frozen=True, kw_only=True):
    """Mean CRPS of quantiles on the validation span, which also chose the weights: no test of them."""

    head: float
    recall: float
    blend: float


class TrainedOdds(Struct, frozen=True, kw_only=True):
    """Weights as float32 arrays, and the course of the training. ``validation`` is by horizon.

    Moments before ``train_end_ms`` were trained on, those from ``validation_start_ms`` on validated.
    """

    weights: dict[str, NDArray[np.float32]]
    history: tuple[OddsValidationPoint, ...]
    validation: dict[int, ValidationScores]
    train_end_ms: int
    validation_start_ms: int


def train_odds(
    network: OddsNetwork,
    material: OddsRows,
    *,
    config: OddsTrainingConfig,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> TrainedOdds:
    """Train from random weights. Raises ValueError where there are too few moments."""
    training, validation = split(material, config, max(network.horizons))
    drawn_at_once = config.queries + config.candidates
    if len(training) < drawn_at_once or not len(validation):
        raise ValueError(
            f"odds need {drawn_at_once:,} moments to train on and later ones to validate on, "
            f"there are {len(training):,} and {len(validation):,}"
        )
    generator = torch.Generator().manual_seed(config.seed)
    weights = _initial(network, training, generator)
    optimiser = _optimiser(weights, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    moments = _Moments.of(training, config)
    fixed = _Validation(network, training, validation, config)
    averaged = {name: value.detach().clone() for name, value in weights.items()}
    history: list[OddsValidationPoint] = []
    best: Weights = {}
    for step in range(1, config.steps + 1):
        batch = moments.draw(config, generator)
        loss = recall_loss(network, weights, batch, config.dropout, generator)
        loss = loss + head_loss(weights, batch, config.dropout, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        _follow(averaged, weights, config.averaging)
        on_step(step, config.steps)
        if step % config.validate_every == 0 or step == config.steps:
            history.append(fixed.evaluate(step, averaged))
            best |= _improved(averaged, history)
    kept = {name: value.detach().numpy() for name, value in (weights | best).items()}
    gated, scores = fixed.gated(kept)
    return TrainedOdds(
        weights=gated,
        history=tuple(history),
        validation=scores,
        train_end_ms=int(training.start_ms[-1]) + 1,
        validation_start_ms=int(validation.start_ms[0]),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Moments of one step: the first ``queries`` of n are forecast from the outcomes of the others.

    ``rows`` (n, inputs) and ``outcomes`` (n, horizons) are as in :class:`OddsRows`; ``embargoed``, of the shape
    (queries, n - queries), marks pairs that are too close in time.
    """

    rows: Tensor
    outcomes: Tensor
    queries: int
    embargoed: Tensor


@dataclass(frozen=True, slots=True)
class _Moments:
    """All moments to train on, as tensors."""

    rows: Tensor
    outcomes: Tensor
    start_ms: Tensor
    embargo_ms: int

    @staticmethod
    def of(training: OddsRows, config: OddsTrainingConfig) -> "_Moments":
        rows, outcomes = torch.from_numpy(training.rows), torch.from_numpy(training.outcomes).float()
        embargo_ms = config.embargo_bars * training.interval_ms
        return _Moments(rows, outcomes, torch.from_numpy(training.start_ms), embargo_ms)

    def draw(self, config: OddsTrainingConfig, generator: torch.Generator) -> Batch:
        """A random batch, no moment in it twice."""
        n = config.queries
        drawn = torch.randperm(len(self.rows), generator=generator)[: n + config.candidates]
        start_ms = self.start_ms[drawn]
        embargoed = (start_ms[:n, None] - start_ms[n:]).abs() < self.embargo_ms
        return Batch(self.rows[drawn], self.outcomes[drawn], n, embargoed)


def recall_loss(
    network: OddsNetwork, weights: Weights, batch: Batch, dropout: float, generator: torch.Generator
) -> Tensor:
    """Mean CRPS of the queries' forecasts by recall alone, over moments and horizons."""
    n = batch.queries
    states, scales = standings(network, weights, batch.rows, dropout, generator)
    distances = squared_distances(states[:n], states[n:])
    by_horizon = [
        recall_crps(
            (-temperature * distances).masked_fill(batch.embargoed, -math.inf),
            batch.outcomes[n:, i] / scales[n:, i],
            batch.outcomes[:n, i],
            scales[:n, i],
        ).mean()
        for i, temperature in enumerate(weights["log_temperature"].exp())
    ]
    return torch.stack(by_horizon).mean()


def head_loss(weights: Weights, batch: Batch, dropout: float, generator: torch.Generator) -> Tensor:
    """Mean CRPS of the head's quantiles, over moments and horizons."""
    quantiles = forward(weights, batch.rows, "head", dropout, generator)
    return pinball(quantiles, batch.outcomes).mean()


def _optimiser(weights: Weights, config: OddsTrainingConfig) -> torch.optim.AdamW:
    """AdamW over state, head and temperatures; only matrices decay."""
    layers = [value for name, value in weights.items() if name.startswith(("state.", "head."))]
    matrices = [value.requires_grad_() for value in layers if value.ndim > 1]
    biases = [value.requires_grad_() for value in layers if value.ndim == 1]
    temperature = weights["log_temperature"].requires_grad_()
    rate = config.learning_rate
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": biases, "weight_decay": 0.0},
            {"params": [temperature], "weight_decay": 0.0, "lr": _TEMPERATURE_RATE * rate},
        ],
        lr=rate,
    )


def _improved(weights: Weights, history: Sequence[OddsValidationPoint]) -> Weights:
    """Copies of the weights whose CRPS is the lowest of the history at its last point."""
    names: list[str] = []
    if history[-1].recall <= min(point.recall for point in history):
        names += ["state.", "log_temperature"]
    if history[-1].head <= min(point.head for point in history):
        names += ["head."]
    return {name: value.clone() for name, value in weights.items() if name.startswith(tuple(names))}


def _initial(network: OddsNetwork, training: OddsRows, generator: torch.Generator) -> Weights:
    """Standardized inputs, random layers, the unconditional quantiles as the head's bias, scales 1, gates 12 %."""
    weights: Weights = {}
    for name, shape in network.shapes().items():
        weights[name] = torch.zeros(shape)
        if len(shape) == 2:
            weights[name] = torch.randn(shape, generator=generator) / math.sqrt(shape[1])
    weights["inputs.mean"] = torch.from_numpy(training.rows.mean(axis=0))
    weights["inputs.spread"] = torch.from_numpy(training.rows.std(axis=0) + np.float32(1e-3))
    unconditional = np.quantile(training.outcomes, LEVELS, axis=0).T.ravel()
    weights["head.out.bias"] = torch.from_numpy(unconditional.astype(np.float32))
    weights["head.out.weight"] *= 0.1
    weights["state.out.weight"][network.dimension :] = 0.0
    weights["gate"] -= 2.0
    return weights


@torch.no_grad()
def _follow(averaged: Weights, weights: Weights, share: float) -> None:
    """Exponential moving average of the weights: average = share · average + (1 - share) · weight."""
    for name, value in averaged.items():
        value.lerp_(weights[name], 1.0 - share)


def split(material: OddsRows, config: OddsTrainingConfig, reach_bars: int) -> tuple[OddsRows, OddsRows]:
    """Moments to train on and later ones to validate on, with no outcome reaching across (embargo)."""
    first, last = int(material.start_ms[0]), int(material.start_ms[-1])
    train_end_ms = int(last - config.validation_fraction * (last - first))
    validation_start_ms = train_end_ms + max(reach_bars, config.embargo_bars) * material.interval_ms
    return material.of(material.start_ms < train_end_ms), material.of(
        material.start_ms >= validation_start_ms
    )


def forward(
    weights: Weights, rows: Tensor, part: str, dropout: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """(n, inputs) to states with logarithms of scales (n, dimension + horizons) or to quantiles in no order.

    The latter are flat, (n, horizons x levels).
    """
    h = (rows - weights["inputs.mean"]) / weights["inputs.spread"]
    for layer in ("in", "hidden"):
        h = F.silu(F.linear(h, weights[f"{part}.{layer}.weight"], weights[f"{part}.{layer}.bias"]))
        if dropout:
            h = h * (torch.rand(h.shape, generator=generator) >= dropout) / (1.0 - dropout)
    return F.linear(h, weights[f"{part}.out.weight"], weights[f"{part}.out.bias"])


def standings(
    network: OddsNetwork,
    weights: Weights,
    rows: Tensor,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """(n, inputs) to states (n, dimension) and scales (n, horizons)."""
    figures = forward(weights, rows, "state", dropout, generator)
    logs = figures[:, network.dimension :].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    return figures[:, : network.dimension], logs.exp()


def squared_distances(queries: Tensor, others: Tensor) -> Tensor:
    """(n, d) and (m, d) to (n, m)."""
    squares = queries.square().sum(1)[:, None] + others.square().sum(1) - 2.0 * queries @ others.T
    return squares.clamp(min=0.0)


def recall_crps(scores: Tensor, outcomes: Tensor, realized: Tensor, scales: Tensor) -> Tensor:
    """Exact CRPS (n,) of ``outcomes`` (m,) weighted by the softmax of ``scores`` (n, m), at ``realized`` (n,).

    E|X - y| - E|X - X'| / 2 (Gneiting and Raftery, 2007), with outcomes multiplied by the query's ``scales`` (n,).
    A candidate with a score of minus infinity has no weight.
    """
    ascending, order = outcomes.sort()
    weights = scores[:, order].softmax(dim=1)
    # E|X - X'| / 2 is the integral of F (1 - F) over the steps of F.
    below = weights.cumsum(dim=1)[:, :-1]
    half_distance = (below * (1.0 - below)) @ ascending.diff()
    return scales * ((weights * (ascending - (realized / scales)[:, None]).abs()).sum(dim=1) - half_distance)


def pinball(quantiles: Tensor, outcomes: Tensor) -> Tensor:
    """CRPS (n, horizons) of ``quantiles`` (n, horizons x levels): twice the mean pinball loss."""
    levels = torch.from_numpy(LEVELS).float()
    error = outcomes[..., None] - quantiles.view(*outcomes.shape, -1)
    return 2.0 * torch.maximum(levels * error, (levels - 1.0) * error).mean(dim=-1)


class _Validation:
    """Fixed moments of the validation span, and a memory of moments before it."""

    def __init__(
        self,
        network: OddsNetwork,
        training: OddsRows,
        validation: OddsRows,
        config: OddsTrainingConfig,
        queries: int = 2000,
    ) -> None:
        self._network = network
        self._memory = training.of(np.arange(0, len(training), -(-len(training) // config.memory)))
        self._queries = validation.of(np.arange(0, len(validation), -(-len(validation) // queries)))

    @torch.no_grad()
    def evaluate(self, step: int, weights: Weights) -> OddsValidationPoint:
        memory, queries = self._memory, self._queries
        (query_states, query_scales), (states, scales) = (
            standings(self._network, weights, torch.from_numpy(x.rows)) for x in (queries, memory)
        )
        distances = squared_distances(query_states, states)
        outcomes, realized = (torch.from_numpy(x.outcomes).float() for x in (memory, queries))
        recalls = [
            recall_crps(
                -temperature * distances, outcomes[:, i] / scales[:, i], realized[:, i], query_scales[:, i]
            ).mean()
            for i, temperature in enumerate(weights["log_temperature"].exp())
        ]
        head = pinball(forward(weights, torch.from_numpy(queries.rows), "head"), realized).mean()
        return OddsValidationPoint(step=step, recall=float(torch.stack(recalls).mean()), head=float(head))

    def gated(
        self, weights: dict[str, NDArray[np.float32]]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[int, ValidationScores]]:
        """The weights with null slots and gates fitted, and the CRPS of head, recall and blend by horizon."""
        network, scores = self._network, {}
        # With a null slot at 0, the logit of a share is the logarithm of the attention's sum.
        odds = Odds(network, weights | {"null": np.zeros(len(network.horizons), np.float32)})
        heads = odds.heads(self._queries.rows)
        known = np.ones((len(self._queries), len(self._memory)), np.bool_)
        fitted = []
        for i, h in enumerate(network.horizons):
            states, scales = odds.standings(self._memory.rows, h)
            outcomes = self._memory.outcomes[:, i] / scales
            order = np.argsort(outcomes, kind="stable")
            queries = odds.standings(self._queries.rows, h)
            recalled, shares = odds.recalled_by(states[order], outcomes[order], queries, h, known)
            mass = np.log(shares / (1.0 - shares))
            head, memory, log_mass, realized = (
                torch.from_numpy(array).float()
                for array in (heads[:, i], recalled, mass, self._queries.outcomes[:, [i]])
            )
            gate, null, blended = _fit_gate(head, memory, log_mass, realized, float(weights["gate"][i]))
            fitted.append((gate, null))
            alone = [float(pinball(quantiles, realized).mean()) for quantiles in (head, memory)]
            scores[h] = ValidationScores(head=alone[0], recall=alone[1], blend=blended)
        gates, nulls = np.array(fitted, np.float32).T
        return weights | {"gate": gates, "null": nulls}, scores


def _fit_gate(
    head: Tensor, recalled: Tensor, mass: Tensor, realized: Tensor, gate: float, steps: int = 200
) -> tuple[float, float, float]:
    """Gate, null slot and the blend's CRPS.

    They begin at ``gate``, towards the head, and are drawn to equal parts for all but the remotest moments.
    """
    even = torch.tensor([0.0, float(mass.quantile(0.01))])
    learned = torch.tensor([gate, float(even[1])], requires_grad=True)
    optimiser = torch.optim.Adam([learned], lr=0.05)
    for _ in range(steps):
        weight = torch.sigmoid(learned[0]) * torch.sigmoid(mass - learned[1])
        crps = pinball(head + weight[:, None] * (recalled - head), realized).mean()
        loss = crps + _GATE_PENALTY * (learned - even).square().sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    fitted_gate, null = learned.detach().tolist()
    return fitted_gate, null, float(crps.detach())
