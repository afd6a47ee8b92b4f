"""How two views of one shape may differ, and the contiguous returns that shapes are cut from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from bot.market import ALWAYS_OPEN, Bar, Calendar
from bot.model.features import FeatureWindow, Floats

Fraction = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class ShapeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may differ between two views of one shape. Lengths are bars, sizes multiples of volatility.

    A fraction ``simulated`` of the shapes is drawn, the rest is cut from bars. A shape has ``min_bars`` to
    ``max_bars`` bars, an autocorrelation of ``min_smoothness`` to ``max_smoothness`` where it is drawn, is played
    faster or slower by up to the fraction ``warp``, with a root mean square of ``min_amplitude`` to
    ``max_amplitude``, over noise of ``min_noise`` to 1. A fraction ``at_end`` of the pairs is seen as the shape ends
    or up to ``after_end`` bars later, the others from ``before`` bars earlier on; the two views differ by up to
    ``jitter`` bars. A shape is followed by a drift of up to ``drift`` a bar, in either direction.
    """

    simulated: Fraction = 0.5
    min_bars: Annotated[int, Meta(ge=4, le=100)] = field(default=24, name="shortest")
    max_bars: Annotated[int, Meta(ge=4, le=100)] = field(default=44, name="longest")
    min_smoothness: Fraction = field(default=0.1, name="least_smoothness")
    max_smoothness: Annotated[float, Meta(ge=0, lt=1)] = field(default=0.8, name="largest_smoothness")
    warp: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    min_amplitude: NotNegative = field(default=0.8, name="least_amplitude")
    max_amplitude: NotNegative = field(default=1.65, name="largest_amplitude")
    min_noise: NotNegative = field(default=0.6, name="least_noise")
    at_end: Fraction = 0.7
    after_end: Annotated[int, Meta(ge=0, le=20)] = 4
    before: Annotated[int, Meta(ge=0, le=20)] = 6
    jitter: Annotated[int, Meta(ge=0, le=5)] = 1
    drift: NotNegative = 0.3

    def __post_init__(self) -> None:
        # By the names in a checkpoint's card.
        for low, high, bounds in (
            ("shortest", "longest", (self.min_bars, self.max_bars)),
            ("least_smoothness", "largest_smoothness", (self.min_smoothness, self.max_smoothness)),
            ("least_amplitude", "largest_amplitude", (self.min_amplitude, self.max_amplitude)),
        ):
            if bounds[0] > bounds[1]:
                raise ValueError(f"{low} is above {high}")


class ValidationPoint(Struct, frozen=True, kw_only=True):
    """Validation of an encoder after ``step`` steps of training, on shapes it is not trained on.

    ``loss`` is the mean InfoNCE loss, ``top1_accuracy`` (0 to 1) how often a view's twin is the nearest of its batch,
    ``temperature`` the learned one.
    """

    step: int
    loss: float
    top1_accuracy: float = field(name="found")
    temperature: float


@dataclass(frozen=True, slots=True)
class ContiguousReturns:
    """Scaled returns (n,) of contiguous bars of one symbol, and their starts (n,), ms on the market's clock."""

    start_ms: NDArray[np.int64]
    scaled: Floats

    def __len__(self) -> int:
        return len(self.scaled)

    def within(self, since_ms: int, until_ms: int) -> "ContiguousReturns":
        """The part whose bars start from ``since_ms`` on and before ``until_ms``."""
        first, last = np.searchsorted(self.start_ms, (since_ms, until_ms)).tolist()
        return ContiguousReturns(self.start_ms[first:last], self.scaled[first:last])


def contiguous_returns(bars: Iterable[Bar], calendar: Calendar = ALWAYS_OPEN) -> list[ContiguousReturns]:
    """The returns, over volatility, that keys are made of: of one symbol's bars, ascending, split at each gap."""
    window = FeatureWindow(calendar=calendar)
    parts: list[tuple[list[int], list[float]]] = []
    for bar in bars:
        if not window.continues_with(bar):
            parts.append(([], []))
        window.push(bar)
        newest = window.scaled_returns(1)
        if len(newest):
            parts[-1][0].append(calendar.clock_ms(bar.start_ms))
            parts[-1][1].append(float(newest[0]))
    return [ContiguousReturns(np.array(starts), np.array(scaled)) for starts, scaled in parts if starts]
