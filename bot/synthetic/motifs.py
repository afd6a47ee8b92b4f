"""The library of shapes that a generated market plays, and how each occurrence is drawn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.synthetic.spec import MarketSpec

Floats = NDArray[np.float64]

# A stream of random numbers of its own, so that shapes never disturb returns.
_STREAM = 0


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One motif as it is played: ``pattern`` in multiples of volatility, the motif and then its drift."""

    start: int
    bars: int
    motif: int
    outcome: int
    realised: int
    pattern: Floats
    expected: Floats


class Library:
    """The motifs of one market: zero-sum shapes of unit variance in mirrored pairs, and their outcomes."""

    def __init__(self, spec: MarketSpec, seed: int) -> None:
        rng = np.random.default_rng([seed, _STREAM])
        self._spec = spec
        self._shapes: list[Floats] = []
        self._outcomes: list[int] = []
        for _ in range((spec.motifs + spec.novel_motifs) // 2):
            steps = rng.standard_normal(spec.motif_bars)
            for i in range(1, spec.motif_bars):
                steps[i] += spec.smoothness * steps[i - 1]
            outcome = 1 if rng.random() < 0.5 else -1
            self._shapes += [steps, steps[::-1]]
            self._outcomes += [outcome, -outcome]

    def play(self, rng: np.random.Generator, start: int) -> Occurrence:
        """Draw the occurrence that begins at bar ``start``."""
        spec = self._spec
        known = spec.motifs + (spec.novel_motifs if start >= spec.novel_from else 0)
        motif = int(rng.integers(known))
        bars = round(spec.motif_bars * (1.0 + spec.warp * rng.uniform(-1.0, 1.0)))
        amplitude = spec.amplitude * (1.0 + spec.amplitude_spread * rng.uniform(-1.0, 1.0))
        outcome = self._outcomes[motif]
        if start >= spec.flip_from and motif < spec.flipped_motifs:
            outcome = -outcome
        realised = outcome if rng.random() < spec.reliability else -outcome

        places = np.linspace(0.0, spec.motif_bars - 1.0, bars)
        shape = np.interp(places, np.arange(spec.motif_bars), self._shapes[motif])
        shape = amplitude * (shape - shape.mean()) / shape.std()
        drift = np.full(spec.drift_bars, spec.drift)
        return Occurrence(
            start=start,
            bars=bars,
            motif=motif,
            outcome=outcome,
            realised=realised,
            pattern=np.concatenate((shape, realised * drift)),
            expected=np.concatenate((shape, outcome * (2.0 * spec.reliability - 1.0) * drift)),
        )
