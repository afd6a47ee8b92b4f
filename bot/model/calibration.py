"""Stated confidence against what happened: how far the memory's votes can be believed."""

import math
from bisect import bisect_right, insort
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from bot.model.features import Floats

_CERTAINTY = 1e-3
# Of slope and head around zero: the fewer the votes, the nearer to worth nothing.
_PRECISION = np.array([1.0, 4.0])
_LEAST_SLOPE = 0.01
_LONGEST_STEP = 1.0
_STEPS = 100


class Vote(Struct, frozen=True, kw_only=True, gc=False):
    """What the memory said of a moment, to be held against what happens.

    ``lean`` is how far the vote was from the base rate in log odds, positive for a rise, and ``head`` how
    far the head without memory was, 0 where there is none; ``moments`` is how many the memory knew, and
    ``similarity`` that of the nearest one.
    """

    lean: float
    base_ratio: float
    moments: int
    head: float = 0.0
    similarity: float = 1.0

    @staticmethod
    def of(
        share: float,
        base_ratio: float,
        moments: int,
        head_ratio: float | None = None,
        similarity: float = 1.0,
    ) -> "Vote":
        """The vote of a share of rises, beside the head's probability of one."""
        base = log_odds(base_ratio)
        head = 0.0 if head_ratio is None else log_odds(head_ratio) - base
        lean = log_odds(share) - base
        return Vote(lean=lean, base_ratio=base_ratio, moments=moments, head=head, similarity=similarity)


class Belief(Struct, frozen=True, kw_only=True, gc=False):
    """How far a vote is believed: log odds are the base rate's plus ``slope * alike**2 * lean``.

    Moments that are like nothing known lean by chance as far as any other: ``alike`` is the share of past
    votes whose nearest moment was no more similar than this one's is. The head's own lean is added ``head``
    times. Neither is negative; both are near zero where votes and head have been worth nothing. ``votes``
    is how many past ones, whose outcome is known, say so.
    """

    slope: float
    votes: int
    head: float = 0.0
    alike: float = 1.0

    def rise_probability(self, vote: Vote) -> float:
        """The probability of a rise after a vote."""
        believed = self.slope * self.alike**2 * vote.lean + self.head * vote.head
        return 1.0 / (1.0 + math.exp(-log_odds(vote.base_ratio) - believed))


class _Settled(NamedTuple):
    """Sorted by time and symbol, so that it does not matter in which order votes came in."""

    matured_ms: int
    symbol: str
    vote: Vote
    base_odds: float
    rose: float


class _Fit(NamedTuple):
    """What a stretch of settled votes says; ``similarities`` are theirs, ascending."""

    slope: float
    head: float
    similarities: Floats

    def alike(self, similarity: float | Floats) -> Floats:
        """The share of the votes that were no more alike; of these and the one that asks, so never zero."""
        no_more = np.searchsorted(self.similarities, similarity, side="right")
        return np.asarray((1.0 + no_more) / (1.0 + len(self.similarities)))


class Calibration:
    """Holds matured votes against their outcomes, and says how far the next one can be believed.

    The belief is the most likely one given the votes of the last ``span_ms``, and a prior that votes are
    worth nothing. What a memory said when it was less than half as large does not count: the larger it is,
    the further it leans where it is right. The belief depends on those votes alone, so whoever observes
    their bars again comes to the same one, bit for bit.
    """

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._settled: list[_Settled] = []
        self._fit: _Fit | None = None
        self._based_on = (0, 0)

    def learn(self, symbol: str, matured_ms: int, vote: Vote, forward_return: float) -> None:
        """Take in what came of a vote; a return of exactly zero is half a rise.

        The votes of one symbol may not overlap: outcomes that share bars are no two pieces of evidence.
        """
        rose = 1.0 if forward_return > 0.0 else 0.5 if forward_return == 0.0 else 0.0
        settled = _Settled(matured_ms, symbol, vote, log_odds(vote.base_ratio), rose)
        insort(self._settled, settled, key=_when)
        # Twice the span, for bars that come late and are believed as of their own time.
        kept_ms = self._settled[-1].matured_ms - 2 * self._span_ms
        del self._settled[: bisect_right(self._settled, kept_ms, key=_matured)]
        self._fit = None

    def belief(self, now_ms: int, moments: int, similarity: float = 1.0) -> Belief:
        """How far a vote of so many moments, the nearest so similar, can be believed as of ``now_ms``."""
        first = bisect_right(self._settled, now_ms - self._span_ms, key=_matured)
        end = bisect_right(self._settled, now_ms, key=_matured)
        while first < end and 2 * self._settled[first].vote.moments < moments:
            first += 1
        if self._fit is None or self._based_on != (first, end):
            self._fit, self._based_on = _fitted(self._settled[first:end]), (first, end)
        fit = self._fit
        return Belief(slope=fit.slope, votes=end - first, head=fit.head, alike=float(fit.alike(similarity)))


def log_odds(share: float) -> float:
    """ln(share / (1 - share)), finite for every share."""
    share = min(max(share, _CERTAINTY), 1.0 - _CERTAINTY)
    return math.log(share / (1.0 - share))


def _fitted(settled: list[_Settled]) -> _Fit:
    lean = np.array([each.vote.lean for each in settled], dtype=np.float64)
    head = np.array([each.vote.head for each in settled], dtype=np.float64)
    similarity = np.array([each.vote.similarity for each in settled], dtype=np.float64)
    base_odds = np.array([each.base_odds for each in settled], dtype=np.float64)
    rose = np.array([each.rose for each in settled], dtype=np.float64)
    fit = _Fit(slope=0.0, head=0.0, similarities=np.sort(similarity))
    columns = np.stack((lean * fit.alike(similarity) ** 2, head))
    coefficients = np.zeros(len(columns))
    asked = list(range(len(columns)))
    while asked:
        found = _most_likely(columns[asked], base_odds, rose, _PRECISION[asked])
        if min(found) >= 0.0:
            coefficients[asked] = found
            break
        # What was wrong more often than not is no vote for the opposite.
        del asked[int(np.argmin(found))]
    slope, believed_head = coefficients.tolist()
    # Never quite zero: which way a vote leans stays visible.
    return fit._replace(slope=max(slope, _LEAST_SLOPE), head=believed_head)


def _most_likely(columns: Floats, base_odds: Floats, rose: Floats, precision: Floats) -> list[float]:
    """Newton's steps to the coefficients of a logistic regression, drawn towards zero by a prior.

    ``columns`` is (coefficients, votes). The likelihood is concave and the prior keeps it from being flat.
    """
    from bot.model.kernels import series

    found = np.zeros(len(columns))
    for _ in range(_STEPS):
        gradient, information = series.logistic_gradient(columns, base_odds, rose, found)
        step = np.linalg.solve(information + np.diag(precision), gradient - precision * found)
        size = float(np.abs(step).max())
        found = found + step * min(1.0, _LONGEST_STEP / max(size, _LONGEST_STEP))
        if size < 1e-9:
            break
    coefficients: list[float] = found.tolist()
    return coefficients


def _matured(settled: _Settled) -> int:
    return settled.matured_ms


def _when(settled: _Settled) -> tuple[int, str]:
    return settled.matured_ms, settled.symbol
