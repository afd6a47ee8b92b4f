"""Pairs of views of one shape, as a market might show it twice: what an encoder is trained to give equal keys.

No outcome enters. Shapes are drawn from an autoregressive process or cut from bars; each view of a shape has its own
warp, amplitude, noise, place in the window and drift after it, and is divided by an exponentially weighted
volatility as bars are. Random numbers are drawn where the generator is, on a CPU or a GPU.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from bot.model.training.views import ContiguousReturns, ShapeConfig

_DECAY = 0.97
_CLIP = 6.0
_TAIL = 5
# Bars before a window that its volatility still remembers; what is older is drawn as one figure.
_LEAD = 32


class ShapeSampler:
    """Cuts shapes from contiguous returns: any segment of ``max_bars`` bars, each with the same probability."""

    def __init__(self, returns: Sequence[ContiguousReturns], config: ShapeConfig) -> None:
        """Raises ValueError where none is as long as the longest shape."""
        kept = [part.scaled for part in returns if len(part) >= config.max_bars]
        if not kept:
            raise ValueError(f"no {config.max_bars} contiguous bars to cut a shape from")
        self._bars = config.max_bars
        self._whole = torch.from_numpy(np.concatenate(kept)).float()
        # A segment ends within its part: this many of a part's bars can be a segment's first.
        self._firsts = torch.tensor([len(part) - self._bars + 1 for part in kept]).cumsum(0)

    def sample(self, generator: Generator, count: int) -> Tensor:
        """``count`` segments: float32 (count, max_bars)."""
        device = generator.device
        self._whole, self._firsts = self._whole.to(device), self._firsts.to(device)
        # A fraction of all places and not an integer: so their number is not read back from a GPU.
        drawn = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
        chosen = (drawn * self._firsts[-1]).long()
        part = torch.searchsorted(self._firsts, chosen, right=True)
        first = chosen + part * (self._bars - 1)
        return self._whole[first[:, None] + torch.arange(self._bars, device=device)]


def draw_pairs(
    generator: Generator, config: ShapeConfig, sampler: ShapeSampler | None, count: int, bars: int
) -> tuple[Tensor, Tensor]:
    """Two views of each of ``count`` shapes: scaled returns, float32 (count, bars) each, oldest first.

    Without ``sampler`` all shapes are simulated.
    """
    cut = 0 if sampler is None else round(count * (1.0 - config.simulated))
    bases = _simulated(generator, config, count - cut)
    if sampler is not None and cut:
        bases = torch.cat((bases, sampler.sample(generator, cut)))
    lengths = _integers(generator, config.min_bars, config.max_bars, count)
    phase = torch.where(
        _uniform(generator, 0.0, 1.0, count) < config.at_end,
        _integers(generator, 0, config.after_end, count),
        _integers(generator, -config.before, config.after_end, count),
    )
    first, second = (_view(generator, config, bases, lengths, phase, bars) for _ in range(2))
    return first, second


def draw_noise(generator: Generator, count: int, bars: int) -> Tensor:
    """Windows without any shape: scaled returns, float32 (count, bars)."""
    return _scaled(generator, _tailed(generator, count, _LEAD + bars))[:, -bars:]


def _simulated(generator: Generator, config: ShapeConfig, count: int) -> Tensor:
    """Autoregressive steps, each shape with a smoothness of its own: (count, max_bars)."""
    smoothness = _uniform(generator, config.min_smoothness, config.max_smoothness, count)
    shocks = torch.randn((count, config.max_bars), generator=generator, device=generator.device)
    age = _ages(config.max_bars, generator.device)
    weights = torch.where(age >= 0, smoothness[:, None, None] ** age.clamp(min=0), 0.0)
    return (weights @ shocks[:, :, None])[:, :, 0]


def _view(
    generator: Generator, config: ShapeConfig, bases: Tensor, lengths: Tensor, phase: Tensor, bars: int
) -> Tensor:
    """One view of each shape: (count, bars)."""
    count, device = len(bases), generator.device
    played = (lengths * (1.0 + config.warp * _uniform(generator, -1.0, 1.0, count))).round().long()
    amplitude = _uniform(generator, config.min_amplitude, config.max_amplitude, count)
    noise = _uniform(generator, config.min_noise, 1.0, count)
    side = 1.0 - 2.0 * _integers(generator, 0, 1, count)
    drift = config.drift * side * _uniform(generator, 0.0, 1.0, count).sqrt()
    since_end = phase + _integers(generator, -config.jitter, config.jitter, count)

    # Which bar of the shape each bar of the timeline is: 0 its first, played - 1 its last.
    at = torch.arange(-_LEAD - bars + 1, 1, device=device) + (since_end + played - 1)[:, None]
    inside = (at >= 0) & (at < played[:, None])
    place = (at / (played - 1)[:, None]).clamp(0.0, 1.0) * (lengths - 1)[:, None]
    below = place.long().clamp(max=bases.shape[1] - 2)
    before, after = bases.gather(1, below), bases.gather(1, below + 1)
    shape = torch.where(inside, before + (place - below) * (after - before), 0.0)
    known = inside.sum(dim=1, keepdim=True)
    shape = torch.where(inside, shape - shape.sum(dim=1, keepdim=True) / known, 0.0)
    size = (shape.square().sum(dim=1, keepdim=True) / known).sqrt()
    pattern = shape * (amplitude[:, None] / size.clamp(min=1e-9))
    pattern += torch.where(at >= played[:, None], drift[:, None], 0.0)

    shocks = _tailed(generator, count, at.shape[1])
    shocks *= torch.where(at >= 0, noise[:, None], 1.0)
    return _scaled(generator, shocks + pattern)[:, -bars:]


def _tailed(generator: Generator, count: int, bars: int) -> Tensor:
    """Student's t with 5 degrees of freedom and unit variance: (count, bars)."""
    normal = torch.randn((_TAIL + 1, count, bars), generator=generator, device=generator.device)
    return normal[0] * ((_TAIL - 2.0) / normal[1:].square().sum(dim=0)).sqrt()


def _scaled(generator: Generator, returns: Tensor) -> Tensor:
    """Each return over the exponentially weighted volatility of those before it, clipped, as bars' returns are."""
    count, bars = returns.shape
    initial = (0.4 * torch.randn(count, generator=generator, device=returns.device)).exp()
    age = _ages(bars, returns.device) - 1  # of each return when the row's own bar begins
    weights = torch.where(age >= 0, (1.0 - _DECAY) * _DECAY ** age.clamp(min=0), 0.0)
    decay = _DECAY ** torch.arange(bars, device=returns.device)
    variance = initial[:, None] * decay + returns.square() @ weights.T
    return (returns / variance.sqrt()).clamp(-_CLIP, _CLIP)


def _ages(bars: int, device: torch.device) -> Tensor:
    """(bars, bars): how many bars each column lies before each row."""
    at = torch.arange(bars, device=device)
    return at[:, None] - at


def _uniform(generator: Generator, low: float, high: float, count: int) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def _integers(generator: Generator, low: int, high: int, count: int) -> Tensor:
    """Whole numbers from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, (count,), generator=generator, device=generator.device)
