"""What could be known on a generated market: where motifs end, what they foretell, and the bound of any memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.synthetic import MarketSpec, Truth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DELAY_BARS = 3
"""Bars from a motif's last to the one it is judged at."""

_PRIOR_OCCURRENCES = 3.0


@dataclass(frozen=True, slots=True)
class Triggers:
    """Bars shortly after a motif's end, ascending: which motif it was, and what belongs to it (-1, 1)."""

    rows: Ints
    motif: Ints
    direction: Floats

    def of(self, chosen: NDArray[np.bool_]) -> "Triggers":
        return Triggers(self.rows[chosen], self.motif[chosen], self.direction[chosen])

    def is_novel(self, spec: MarketSpec) -> NDArray[np.bool_]:
        """Whether the motif appears only late in the market's life."""
        return self.motif >= spec.motifs


def triggers_of(truth: Truth) -> Triggers:
    """All triggers of a market: :data:`DELAY_BARS` after each motif's last bar."""
    ends = np.flatnonzero((truth.motif >= 0) & (truth.remaining == 0))
    ends = ends[ends + DELAY_BARS < len(truth.motif)]
    return Triggers(
        rows=ends + DELAY_BARS,
        motif=truth.motif[ends].astype(np.int64),
        direction=truth.outcome[ends].astype(np.float64),
    )


def retrieval_ceiling(triggers: Triggers, outcome: Floats, matured_bars: int) -> Floats:
    """The forecast of one who recognises every motif, but knows its outcome from earlier occurrences only.

    The mean of the motif's matured outcomes, shrunk as if three more had come to nothing: so few occurrences
    of a new motif are trusted a little. 0 before the first has matured.
    """
    forecast = np.zeros(len(triggers.rows))
    for i, (row, motif) in enumerate(zip(triggers.rows.tolist(), triggers.motif.tolist(), strict=True)):
        known = triggers.rows[(triggers.motif == motif) & (triggers.rows + matured_bars <= row)]
        past = outcome[known]
        past = past[np.isfinite(past)]
        forecast[i] = past.sum() / (len(past) + _PRIOR_OCCURRENCES)
    return forecast


def precision(neighbors: Ints, motif: Ints, truth: Truth) -> Floats:
    """The share of each row's neighbors (rows x k, -1 none) that lie at the same motif's end or drift."""
    at_work = np.where(truth.remaining <= 0, truth.motif, -1)
    hits = (neighbors >= 0) & (at_work[neighbors] == motif[:, None])
    return np.asarray(hits.sum(axis=1) / np.maximum((neighbors >= 0).sum(axis=1), 1))
