"""What a shape is, how two views of it may differ, and what is seen of bars to cut shapes from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.market import ALWAYS_OPEN, Bar, Calendar
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
    """Scaled returns of unbroken bars of one symbol, and when those bars start on the market's clock."""

    start_ms: NDArray[np.int64]
    scaled: Floats

    def __len__(self) -> int:
        return len(self.scaled)

    def within(self, since_ms: int, until_ms: int) -> "Run":
        """The part whose bars start from ``since_ms`` on and before ``until_ms``."""
        first, last = np.searchsorted(self.start_ms, (since_ms, until_ms)).tolist()
        return Run(self.start_ms[first:last], self.scaled[first:last])


def scaled_runs(bars: Iterable[Bar], calendar: Calendar = ALWAYS_OPEN) -> list[Run]:
    """One symbol's bars, ascending, as runs of what a key sees of them; a gap ends a run."""
    window = FeatureWindow(calendar=calendar)
    runs: list[tuple[list[int], list[float]]] = []
    for bar in bars:
        if not window.continues_with(bar):
            runs.append(([], []))
        window.push(bar)
        newest = window.scaled_returns(1)
        if len(newest):
            runs[-1][0].append(calendar.clock_ms(bar.start_ms))
            runs[-1][1].append(float(newest[0]))
    return [Run(np.array(starts), np.array(scaled)) for starts, scaled in runs if starts]
