"""Pairs of views of one shape, as a market might play it twice: what the key is trained to see as one.

No outcome enters. Shapes are drawn from an autoregressive process or cut from bars; each view of a shape
has its own warp, amplitude, noise, place in the window and drift after it, and passes through the same
scaling by a fading volatility as bars do.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.market import Bar
from bot.model.features import FeatureWindow, Floats

Share = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class ShapeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may differ between two views of one shape. Lengths are bars, sizes multiples of volatility.

    A share ``simulated`` of the shapes is drawn, the rest is cut from bars. A shape has ``shortest`` to
    ``longest`` bars, played faster or slower by up to ``warp``, ``least_amplitude`` to
    ``largest_amplitude`` high, over noise of ``least_noise`` to 1. A share ``at_end`` of the pairs is seen
    as the shape ends or up to ``after_end`` bars later, the others from ``before`` bars earlier on; the
    two views differ by up to ``jitter`` bars. Once over, a shape is followed by a drift of up to ``drift``
    a bar, in either direction.
    """

    simulated: Share = 0.5
    shortest: Annotated[int, Meta(ge=4, le=100)] = 24
    longest: Annotated[int, Meta(ge=4, le=100)] = 44
    least_smoothness: Share = 0.1
    largest_smoothness: Annotated[float, Meta(ge=0, lt=1)] = 0.8
    warp: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    least_amplitude: NotNegative = 0.8
    largest_amplitude: NotNegative = 1.65
    least_noise: NotNegative = 0.6
    at_end: Share = 0.7
    after_end: Annotated[int, Meta(ge=0, le=20)] = 4
    before: Annotated[int, Meta(ge=0, le=20)] = 6
    jitter: Annotated[int, Meta(ge=0, le=5)] = 1
    drift: NotNegative = 0.3

    def __post_init__(self) -> None:
        for low, high in (
            ("shortest", "longest"),
            ("least_smoothness", "largest_smoothness"),
            ("least_amplitude", "largest_amplitude"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}")


_DECAY = 0.97
_CLIP = 6.0
_TAIL = 5.0
# Bars before a window that its volatility still remembers; what is older is drawn as one figure.
_LEAD = 32


class Look(Struct, frozen=True, kw_only=True):
    """A look at unseen shapes after so many steps of training.

    ``loss`` is the mean loss, ``found`` how often a view's twin is the nearest of its batch.
    """

    step: int
    loss: float
    found: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Run:
    """Scaled returns of unbroken bars of one symbol, and when those bars start."""

    start_ms: NDArray[np.int64]
    scaled: Floats

    def __len__(self) -> int:
        return len(self.scaled)

    def within(self, since_ms: int, until_ms: int) -> "Run":
        """The part whose bars start from ``since_ms`` on and before ``until_ms``."""
        first, last = np.searchsorted(self.start_ms, (since_ms, until_ms)).tolist()
        return Run(self.start_ms[first:last], self.scaled[first:last])


def scaled_runs(bars: Iterable[Bar]) -> list[Run]:
    """One symbol's bars, ascending, as runs of what a key sees of them; a gap ends a run."""
    window = FeatureWindow()
    runs: list[tuple[list[int], list[float]]] = []
    expected_ms = -1
    for bar in bars:
        window.push(bar)
        if bar.start_ms != expected_ms:
            runs.append(([], []))
        expected_ms = bar.close_ms
        newest = window.scaled_returns(1)
        if len(newest):
            runs[-1][0].append(bar.start_ms)
            runs[-1][1].append(float(newest[0]))
    return [Run(np.array(starts), np.array(scaled)) for starts, scaled in runs if starts]


class Cuttings:
    """Where shapes are cut from: any whole segment of any run, each with the same chance."""

    def __init__(self, runs: Sequence[Run], config: ShapeConfig) -> None:
        """Raises ValueError where no run is as long as the longest shape."""
        kept = [run.scaled for run in runs if len(run) >= config.longest]
        if not kept:
            raise ValueError(f"no {config.longest} unbroken bars to cut a shape from")
        self._bars = config.longest
        self._whole = np.concatenate(kept)
        # A segment ends within its run: so many of a run's bars can be a segment's first.
        self._firsts = np.cumsum([len(run) - self._bars + 1 for run in kept])

    def cut(self, rng: np.random.Generator, count: int) -> Floats:
        """``count`` segments: (count, longest)."""
        chosen = rng.integers(self._firsts[-1], size=count)
        run = np.searchsorted(self._firsts, chosen, side="right")
        first = chosen + run * (self._bars - 1)
        segments: Floats = self._whole[first[:, None] + np.arange(self._bars)]
        return segments


def draw_pairs(
    rng: np.random.Generator, config: ShapeConfig, cuttings: Cuttings | None, count: int, bars: int
) -> tuple[Floats, Floats]:
    """Two views of each of ``count`` shapes: scaled returns, (count, bars) each, oldest first.

    Without ``cuttings`` all shapes are simulated.
    """
    cut = 0 if cuttings is None else round(count * (1.0 - config.simulated))
    bases = _simulated(rng, config, count - cut)
    if cuttings is not None and cut:
        bases = np.concatenate((bases, cuttings.cut(rng, cut)))
    lengths = rng.integers(config.shortest, config.longest + 1, count)
    phase = np.where(
        rng.random(count) < config.at_end,
        rng.integers(0, config.after_end + 1, count),
        rng.integers(-config.before, config.after_end + 1, count),
    )
    first, second = (_view(rng, config, bases, lengths, phase, bars) for _ in range(2))
    return first, second


def draw_noise(rng: np.random.Generator, count: int, bars: int) -> Floats:
    """Windows without any shape: scaled returns, (count, bars)."""
    return _scaled(rng, _tailed(rng, (count, _LEAD + bars)))[:, -bars:]


def _simulated(rng: np.random.Generator, config: ShapeConfig, count: int) -> Floats:
    smoothness = rng.uniform(config.least_smoothness, config.largest_smoothness, count)
    steps = rng.standard_normal((config.longest, count))
    for i in range(1, config.longest):
        steps[i] += smoothness * steps[i - 1]
    return steps.T


def _view(
    rng: np.random.Generator,
    config: ShapeConfig,
    bases: Floats,
    lengths: NDArray[np.int64],
    phase: NDArray[np.int64],
    bars: int,
) -> Floats:
    """One way of playing each shape: (count, bars)."""
    count = len(bases)
    played = np.rint(lengths * (1.0 + config.warp * rng.uniform(-1.0, 1.0, count))).astype(np.int64)
    amplitude = rng.uniform(config.least_amplitude, config.largest_amplitude, count)
    noise = rng.uniform(config.least_noise, 1.0, count)
    drift = config.drift * rng.choice((-1.0, 1.0), count) * rng.random(count) ** 0.5
    since_end = phase + rng.integers(-config.jitter, config.jitter + 1, count)

    # Which bar of the shape each bar of the timeline is: 0 its first, played - 1 its last.
    at = np.arange(-_LEAD - bars + 1, 1) + (since_end + played - 1)[:, None]
    inside = (at >= 0) & (at < played[:, None])
    place = np.clip(at / (played - 1)[:, None], 0.0, 1.0) * (lengths - 1)[:, None]
    below = np.minimum(place.astype(np.int64), bases.shape[1] - 2)
    rows = np.arange(count)[:, None]
    shape = bases[rows, below] + (place - below) * (bases[rows, below + 1] - bases[rows, below])
    shape = np.where(inside, shape, 0.0)
    known = inside.sum(axis=1, keepdims=True)
    shape = np.where(inside, shape - shape.sum(axis=1, keepdims=True) / known, 0.0)
    size = np.sqrt((shape * shape).sum(axis=1, keepdims=True) / known)
    pattern = shape * (amplitude[:, None] / np.maximum(size, 1e-9))
    pattern += np.where(at >= played[:, None], drift[:, None], 0.0)

    shocks = _tailed(rng, at.shape)
    shocks *= np.where(at >= 0, noise[:, None], 1.0)
    return _scaled(rng, shocks + pattern)[:, -bars:]


def _tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 5 degrees of freedom and unit variance."""
    shocks: Floats = rng.standard_t(_TAIL, shape) * math.sqrt((_TAIL - 2.0) / _TAIL)
    return shocks


def _scaled(rng: np.random.Generator, returns: Floats) -> Floats:
    """Each return over the fading volatility of those before it, clipped, as bars' returns are."""
    variance = np.exp(0.4 * rng.standard_normal(len(returns)))
    scaled = np.empty_like(returns)
    for i in range(returns.shape[1]):
        moved = returns[:, i]
        scaled[:, i] = moved / np.sqrt(variance)
        variance = _DECAY * variance + (1.0 - _DECAY) * moved * moved
    return np.clip(scaled, -_CLIP, _CLIP, out=scaled)
