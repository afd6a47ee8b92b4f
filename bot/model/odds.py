"""The quantile forecast: a state, a head that forecasts without memory, attention to the memory, and a gate.

This is the memory layer of a memory-augmented transformer at the level of the output, with one head per horizon.
The state is both query and key: a recall attends to the nearest moments with a learned temperature, and a null slot
takes attention where no moment is near. Outcomes are stored divided by a scale that was known at the moment's close,
and multiplied by that of the query: so the state describes everything but the size of outcomes. A scalar gate per
horizon, 0 where nothing may be recalled, mixes the recalled quantiles with the head's. Two thousand moments share
the attention; it is not the "32 similar moments" of the vote.

All distributions are quantiles at :data:`LEVELS`, in units of the horizon's expected volatility (that of one bar
times the square root of the bars). :mod:`bot.model.training.forecaster` fits the weights.
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
"""Levels of a distribution's quantiles: 5 % to 95 %."""

NEAREST = 2048
"""Nearest moments that a recall attends to, at most. A temperature learned among a few thousand moments would be
too high among many; so the neighborhood becomes narrower as the memory grows."""

MAX_LOG_SCALE = 2.0
"""Bound on a scale's logarithm: for bars unlike any trained on, the exponential could be of any size."""


class Standing(NamedTuple):
    """The state and scale of moments at one horizon, known at a bar's close.

    The distance of states (…, dimension) says which moments are near; ``scale`` (…) is the expected size of the
    outcome, in units of the horizon's expected volatility.
    """

    state: State
    scale: Floats


class OddsNetwork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two small networks of the same inputs: one gives the state, the other the head's quantiles.

    Each has two hidden layers of ``width``. The state's network gives ``dimension`` figures and the logarithm of a
    scale for each horizon; ``horizons`` are the bars ahead that were trained, ascending.
    """

    inputs: Count
    width: Count = 128
    dimension: Count = 16
    horizons: tuple[Count, ...] = (1, 4, 24)
    levels: Count = len(LEVELS)

    def __post_init__(self) -> None:
        if self.levels != len(LEVELS):
            raise ValueError(f"a distribution has {len(LEVELS)} quantiles, not {self.levels}")
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
    """The memory's forecast at one horizon.

    ``quantiles`` (levels,) are the weighted outcomes'; ``share`` is the attention that did not go to the null slot,
    0 to 1; ``effective_sample_size`` is
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
        """State and scale of one bar: (inputs,) to float32 (dimension,) and a scalar."""
        return self.standings(row, horizon_bars)

    def standings(self, rows: Tensor, horizon_bars: int) -> Standing:
        """States and scales of many bars: (n, inputs) to (n, dimension) and (n,)."""
        figures = self._forward(rows, "state")
        logs = figures[..., self.dimension :] @ self._mixture(horizon_bars)
        scale = np.exp(np.clip(logs, -MAX_LOG_SCALE, MAX_LOG_SCALE))
        return Standing(np.ascontiguousarray(figures[..., : self.dimension]), np.asarray(scale))

    def head(self, row: Tensor) -> Floats:
        """The forecast without memory: (inputs,) to ascending float64 quantiles (horizons, levels)."""
        return self.heads(row)

    def heads(self, rows: Tensor) -> Floats:
        """Forecasts without memory of many bars: (n, inputs) to (n, horizons, levels)."""
        quantiles = self._forward(rows, "head").astype(np.float64)
        shape = (*rows.shape[:-1], len(self.network.horizons), self.network.levels)
        # Quantiles that cross are sorted, which never increases their error.
        return np.sort(quantiles.reshape(shape), axis=-1)

    def at(self, heads: Floats, horizon_bars: int) -> Floats:
        """The head's quantiles at one horizon: (…, horizons, levels) to (…, levels)."""
        return np.asarray(np.tensordot(heads, self._mixture(horizon_bars), axes=([-2], [0])))

    def temperature(self, horizon_bars: int) -> float:
        """Factor on the squared distance of states: the larger, the narrower the recall."""
        return math.exp(self._learned("log_temperature", horizon_bars))

    def gate(self, horizon_bars: int) -> float:
        """The memory's weight in the mixture with the head, before the null slot: 0 to 1."""
        return 1.0 / (1.0 + math.exp(-self._learned("gate", horizon_bars)))

    def recalled(
        self, states: Tensor, outcomes: Floats, query: Standing, horizon_bars: int
    ) -> Recalled | None:
        """The distribution of past outcomes, each weighted by the distance of its state from the query's.

        ``states`` (m, dimension) and ``outcomes`` (m,) are in ascending order of outcome, so that nothing need be
        sorted and the same memory gives the same bits in whatever order it was filled. None where m is 0. An outcome
        is the log return over the horizon, divided by the horizon's expected volatility and by its moment's scale;
        the quantiles are multiplied by the query's scale.
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
        """The same for n queries: quantiles (n, levels) and shares (n,).

        ``known`` (n, m) says which moments each query may recall. Where it may recall none, share and quantiles are
        0. Equal to :meth:`recalled` up to rounding.
        """
        quantiles, shares = np.zeros((len(known), self.network.levels)), np.zeros(len(known))
        answered = np.flatnonzero(known.any(axis=1))
        if not len(answered):
            return quantiles, shares
        scores = -np.float32(self.temperature(horizon_bars)) * _distances(states, queries.state[answered])
        scores = np.where(known[answered], scores, np.float32(-np.inf))
        scores[scores < _lowest_kept(scores)[:, None]] = -np.inf
        weights, shares[answered] = self._attention(scores, horizon_bars)
        for place, row in zip(answered.tolist(), weights, strict=True):
            near = np.flatnonzero(row)
            scaled = _quantiles(outcomes[near], np.cumsum(row[near], dtype=np.float64))
            quantiles[place] = queries.scale[place] * scaled
        return quantiles, shares

    def blend(self, head: Floats, recalled: Recalled | None, horizon_bars: int) -> Floats:
        """The forecast: the gate's mean of head's and memory's quantiles. ``head`` is of this horizon."""
        if recalled is None:
            return head
        return self.blends(head, recalled.quantiles, np.array(recalled.share), horizon_bars)

    def blends(self, heads: Floats, recalled: Floats, shares: Floats, horizon_bars: int) -> Floats:
        """Forecasts of n queries: quantiles (n, levels) twice, and the shares (n,) of :meth:`recalled_by`."""
        weight = self.gate(horizon_bars) * shares[..., None]
        return np.asarray((1.0 - weight) * heads + weight * recalled)

    def _forward(self, rows: Tensor, part: str) -> Tensor:
        x = (rows - self.weights["inputs.mean"]) / self.weights["inputs.spread"]
        out = np.empty((*rows.shape[:-1], len(self.weights[f"{part}.out.bias"])), np.float32)
        x, flat = x.reshape(-1, rows.shape[-1]), out.reshape(-1, out.shape[-1])
        self._kernels.hidden_layers(x, self._packed[part], self.network.width, flat)
        return out

    def _attention(self, scores: Tensor, horizon_bars: int) -> tuple[Tensor, Floats]:
        """Scores (n, m) to weights, the largest of each row 1, and the attention (n,) left by the null slot."""
        highest = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - highest)
        mass = np.log(weights.sum(axis=1, dtype=np.float64)) + highest[:, 0]
        return weights, self._share(mass, horizon_bars)

    def _share(self, mass: Floats, horizon_bars: int) -> Floats:
        """Attention left by the null slot, given the logarithms of the weights' sums."""
        margin = np.clip(mass - self._learned("null", horizon_bars), -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(-margin)))

    def _learned(self, name: str, horizon_bars: int) -> float:
        return float(np.dot(self._mixture(horizon_bars), self.weights[name].astype(np.float64)))

    def _mixture(self, horizon_bars: int) -> Floats:
        """Weight of each trained horizon for this one: linear in the logarithm, constant beyond the ends."""
        known = self._mixtures.get(horizon_bars)
        if known is None:
            units, place = np.eye(len(self._log_horizons)), math.log(horizon_bars)
            known = np.array([np.interp(place, self._log_horizons, unit) for unit in units])
            self._mixtures[horizon_bars] = known
        return known


def _distances(states: Tensor, queries: State) -> Tensor:
    """Squared distances (n, m) of queries (n, d) from states (m, d)."""
    distances = np.einsum("ij,ij->i", states, states) - np.float32(2.0) * (queries @ states.T)
    distances += np.einsum("ij,ij->i", queries, queries)[:, None]
    return np.asarray(np.maximum(distances, np.float32(0.0)), np.float32)


def _lowest_kept(scores: Tensor) -> Tensor:
    """The lowest of each row's :data:`NEAREST` highest scores, (n, m) to (n,); ties with it are kept, too."""
    places = scores.shape[1] - NEAREST
    if places <= 0:
        return np.full(len(scores), -np.inf, np.float32)
    return np.asarray(np.partition(scores, places, axis=1)[:, places])


def _quantiles(outcomes: Floats, totals: Floats) -> Floats:
    """Weighted quantiles at :data:`LEVELS` of ascending ``outcomes``; ``totals`` are cumulative weights.

    Steps, with no interpolation between two outcomes: one without weight has no effect.
    """
    return np.asarray(outcomes[np.searchsorted(totals, LEVELS * totals[-1])])
