"""Which past moments had the same odds: a state, a forecast without memory, a recall, and the gate between.

This is the memory layer of a memory-augmented transformer at the level of the output, with one head a
horizon. The state is query and key at once; a recall attends to the nearest moments with a learned
temperature, and a null slot takes the attention that nothing deserves. What followed a moment is remembered
in units of a scale that was known at its close, and told in that of the moment that asks: so the state need
not say how large outcomes are, only what they are like besides. A scalar gate a horizon, which
starts towards the local head and is forced to it where nothing may be recalled, mixes what is recalled with
what the head says. It does not pretend to be "32 similar days": two thousand moments share the weight.

All distributions are quantiles at :data:`LEVELS`, in units of the volatility expected of the horizon (that
of one bar times the root of the bars). :mod:`bot.model.training.forecaster` fits the weights.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.model.network.parameters import Count, Shapes, Tensor, Weights, packed_layer, require_weights

Floats = NDArray[np.float64]
State = NDArray[np.float32]

LEVELS: Floats = np.arange(1, 20) / 20.0
"""Levels of the quantiles that a distribution is told in: 5 % to 95 %."""

NEAREST = 2048
"""Moments that share the attention of a recall, at most: the nearest. A temperature that was learned among few
thousand would be too warm among many; so a neighborhood grows finer with the memory."""

LARGEST_LOG_SCALE = 2.0
"""Of a scale or its inverse: an exponential of bars unlike any that were trained on could be anything."""


class Standing(NamedTuple):
    """Where moments stand among others at one horizon.

    ``state`` (…, dimension) says which moments are near, ``scale`` (…) how large their outcomes are, in
    units of the volatility expected. Both are known at a bar's close.
    """

    state: State
    scale: Floats


class OddsNetwork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two small networks of the same inputs: one gives the state, the other the head's quantiles.

    Each has two hidden layers of ``width``. A state has ``dimension`` figures, beside which stand the
    logarithms of a scale a horizon; ``horizons`` are the bars ahead that were trained, ascending.
    """

    inputs: Count
    width: Count = 128
    dimension: Count = 16
    horizons: tuple[Count, ...] = (1, 4, 24)
    levels: Count = len(LEVELS)

    def __post_init__(self) -> None:
        if self.levels != len(LEVELS):
            raise ValueError(f"a distribution is told in {len(LEVELS)} quantiles, not {self.levels}")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError(f"horizons {self.horizons} do not ascend")

    def shapes(self) -> Shapes:
        """The weights by name; matrices are (out, in)."""
        heads = (len(self.horizons),)
        found: Shapes = {
            "inputs.mean": (self.inputs,),
            "inputs.spread": (self.inputs,),
            "log_temperature": heads,
            "null": heads,
            "gate": heads,
        }
        for part, out in (("state", self.dimension + heads[0]), ("head", heads[0] * self.levels)):
            found |= {
                f"{part}.in.weight": (self.width, self.inputs),
                f"{part}.in.bias": (self.width,),
                f"{part}.hidden.weight": (self.width, self.width),
                f"{part}.hidden.bias": (self.width,),
                f"{part}.out.weight": (out, self.width),
                f"{part}.out.bias": (out,),
            }
        return found


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the memory says of one horizon.

    ``quantiles`` (levels,) are those of the outcomes, weighted; ``share`` is the attention that did not go
    to the null slot, 0 to 1; ``effective_sample_size`` is
    (Σ weight)² / Σ weight² of the moments (Kish).
    """

    quantiles: Floats
    share: float
    effective_sample_size: float


class Odds:
    """:class:`OddsNetwork` with its weights."""

    def __init__(self, network: OddsNetwork, weights: Weights) -> None:
        """Raises ValueError where the weights do not fit the network."""
        require_weights(network.shapes(), weights)
        from bot.model.kernels import layers

        self._kernels = layers
        self.network = network
        self.dimension = network.dimension
        self.weights = weights
        self._packed = {
            part: np.concatenate(
                [packed_layer(weights, f"{part}.{layer}") for layer in ("in", "hidden", "out")]
            )
            for part in ("state", "head")
        }
        self._log_horizons = np.log(np.array(network.horizons, np.float64))
        self._mixtures: dict[int, Floats] = {}

    def standing(self, row: Tensor, horizon_bars: int) -> Standing:
        """State and scale of one bar: (inputs,) to float32 (dimension,) and a figure without dimensions."""
        return self.standings(row, horizon_bars)

    def standings(self, rows: Tensor, horizon_bars: int) -> Standing:
        """Those of many: (n, inputs) to (n, dimension) and (n,)."""
        figures = self._forward(rows, "state")
        logs = figures[..., self.dimension :] @ self._mixture(horizon_bars)
        scale = np.exp(np.clip(logs, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        return Standing(np.ascontiguousarray(figures[..., : self.dimension]), np.asarray(scale))

    def head(self, row: Tensor) -> Floats:
        """The forecast without memory: (inputs,) to ascending float64 quantiles (horizons, levels)."""
        return self.heads(row)

    def heads(self, rows: Tensor) -> Floats:
        """Those of many: (n, inputs) to (n, horizons, levels)."""
        told = self._forward(rows, "head").astype(np.float64)
        shape = (*rows.shape[:-1], len(self.network.horizons), self.network.levels)
        # Quantiles that cross are put in order, which only ever brings them nearer to the truth.
        return np.sort(told.reshape(shape), axis=-1)

    def at(self, heads: Floats, horizon_bars: int) -> Floats:
        """The head's quantiles at one horizon: (…, horizons, levels) to (…, levels)."""
        return np.asarray(np.tensordot(heads, self._mixture(horizon_bars), axes=([-2], [0])))

    def temperature(self, horizon_bars: int) -> float:
        """What a squared distance between states is multiplied by; the larger, the narrower the recall."""
        return math.exp(self._learned("log_temperature", horizon_bars))

    def gate(self, horizon_bars: int) -> float:
        """The weight of what is recalled against the head, where the null slot takes nothing."""
        return 1.0 / (1.0 + math.exp(-self._learned("gate", horizon_bars)))

    def recalled(
        self, states: Tensor, outcomes: Floats, query: Standing, horizon_bars: int
    ) -> Recalled | None:
        """The distribution of remembered outcomes, each weighted by how near its state is to the query's.

        ``states`` (m, dimension) and ``outcomes`` (m,) stand in ascending order of outcome, so that nothing
        need be sorted and the same memory gives the same bits in whatever order it was filled. None where
        m is 0. An outcome is the log return over the horizon by the volatility expected of it and by the
        scale of its own moment; quantiles are told in the scale of the query's.
        """
        if not len(outcomes):
            return None
        temperature = np.float32(self.temperature(horizon_bars))
        distances = self._kernels.squared_distances(states, query.state)
        farthest = np.float32(np.inf)
        if len(distances) > NEAREST:
            farthest = np.partition(distances, NEAREST - 1)[NEAREST - 1]
        totals, squares = self._kernels.running_weights(distances, farthest, temperature)
        # In logarithms: far from everything, a sum of weights underflows.
        mass = math.log(totals[-1]) - float(temperature * distances.min())
        return Recalled(
            query.scale * _quantiles(outcomes, totals),
            float(self._share(np.array(mass), horizon_bars)),
            float(totals[-1] ** 2 / squares),
        )

    def recalled_by(
        self,
        states: Tensor,
        outcomes: Floats,
        queries: Standing,
        horizon_bars: int,
        known: NDArray[np.bool_],
    ) -> tuple[Floats, Floats]:
        """Those of many queries, n of them: quantiles (n, levels) and the share of each (n,).

        ``known`` (n, m) says which moments each of them may recall. Where it is none, the share is 0 and
        the quantiles are 0. Equal to :meth:`recalled` up to rounding.
        """
        quantiles, shares = np.zeros((len(known), self.network.levels)), np.zeros(len(known))
        asked = np.flatnonzero(known.any(axis=1))
        if not len(asked):
            return quantiles, shares
        scores = -np.float32(self.temperature(horizon_bars)) * _distances(states, queries.state[asked])
        scores = np.where(known[asked], scores, np.float32(-np.inf))
        scores[scores < _least(scores)[:, None]] = -np.inf
        weights, shares[asked] = self._attention(scores, horizon_bars)
        for place, row in zip(asked.tolist(), weights, strict=True):
            near = np.flatnonzero(row)
            told = _quantiles(outcomes[near], np.cumsum(row[near], dtype=np.float64))
            quantiles[place] = queries.scale[place] * told
        return quantiles, shares

    def blend(self, head: Floats, recalled: Recalled | None, horizon_bars: int) -> Floats:
        """The forecast: head and memory, mean of quantiles by the gate. ``head`` is of this horizon."""
        if recalled is None:
            return head
        return self.blends(head, recalled.quantiles, np.array(recalled.share), horizon_bars)

    def blends(self, heads: Floats, recalled: Floats, shares: Floats, horizon_bars: int) -> Floats:
        """Those of many: quantiles (n, levels) twice, and what :meth:`recalled_by` gave as shares (n,)."""
        weight = self.gate(horizon_bars) * shares[..., None]
        return np.asarray((1.0 - weight) * heads + weight * recalled)

    def _forward(self, rows: Tensor, part: str) -> Tensor:
        x = (rows - self.weights["inputs.mean"]) / self.weights["inputs.spread"]
        out = np.empty((*rows.shape[:-1], len(self.weights[f"{part}.out.bias"])), np.float32)
        x, told = x.reshape(-1, rows.shape[-1]), out.reshape(-1, out.shape[-1])
        self._kernels.hidden_layers(x, self._packed[part], self.network.width, told)
        return out

    def _attention(self, scores: Tensor, horizon_bars: int) -> tuple[Tensor, Floats]:
        """Scores (n, m) to weights, the largest of each row 1, and the share that the null slot left."""
        highest = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - highest)
        mass = np.log(weights.sum(axis=1, dtype=np.float64)) + highest[:, 0]
        return weights, self._share(mass, horizon_bars)

    def _share(self, mass: Floats, horizon_bars: int) -> Floats:
        """What the null slot leaves to weights whose sums have these logarithms."""
        margin = np.clip(mass - self._learned("null", horizon_bars), -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(-margin)))

    def _learned(self, name: str, horizon_bars: int) -> float:
        return float(np.dot(self._mixture(horizon_bars), self.weights[name].astype(np.float64)))

    def _mixture(self, horizon_bars: int) -> Floats:
        """How far each trained horizon speaks for this one: linear in the logarithm, the outermost beyond."""
        known = self._mixtures.get(horizon_bars)
        if known is None:
            ones, place = np.eye(len(self._log_horizons)), math.log(horizon_bars)
            known = np.array([np.interp(place, self._log_horizons, one) for one in ones])
            self._mixtures[horizon_bars] = known
        return known


def _distances(states: Tensor, queries: State) -> Tensor:
    """Squared distances (n, m) of queries (n, d) from states (m, d)."""
    distances = np.einsum("ij,ij->i", states, states) - np.float32(2.0) * (queries @ states.T)
    distances += np.einsum("ij,ij->i", queries, queries)[:, None]
    return np.asarray(np.maximum(distances, np.float32(0.0)), np.float32)


def _least(scores: Tensor) -> Tensor:
    """What each row's (n, m) scores reach where they are among its highest: (n,). As high ones all are."""
    places = scores.shape[1] - NEAREST
    if places <= 0:
        return np.full(len(scores), -np.inf, np.float32)
    return np.asarray(np.partition(scores, places, axis=1)[:, places])


def _quantiles(outcomes: Floats, totals: Floats) -> Floats:
    """The least of the ascending outcomes that so much of the weight does not exceed; ``totals`` are running sums.

    A step, not a line between two outcomes: one without weight then counts for nothing.
    """
    return np.asarray(outcomes[np.searchsorted(totals, LEVELS * totals[-1])])
