"""Calibration: how far the memory's votes agreed with what followed them, by logistic regression."""

import math
from bisect import bisect_right, insort
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from bot.model.features import Floats

_MIN_PROBABILITY = 1e-3
# The prior's precision (1 / variance) of vote slope and head slope: with few votes both are near zero.
_PRECISION = np.array([1.0, 4.0])
_MIN_SLOPE = 0.01
_MAX_STEP = 1.0
_STEPS = 100


class Vote(Struct, frozen=True, kw_only=True, gc=False):
    """What the memory said of a moment, to be scored once its outcome is known.

    ``log_odds_ratio`` is the log odds of the neighbors' fraction of rises minus those of the base rate: positive
    for a rise. ``head_log_odds_ratio`` is the same of the network's forecast without memory, 0 where there is none.
    ``moments`` counts those that the memory knew, ``similarity`` is that of the nearest one (-1 to 1).
    """

    log_odds_ratio: float
    base_ratio: float
    moments: int
    head_log_odds_ratio: float = 0.0
    similarity: float = 1.0

    @staticmethod
    def of(
        rise_fraction: float,
        base_ratio: float,
        moments: int,
        head_ratio: float | None = None,
        similarity: float = 1.0,
    ) -> "Vote":
        """The vote of a fraction of rises, beside the head's probability of a rise (None: no head)."""
        base = log_odds(base_ratio)
        return Vote(
            log_odds_ratio=log_odds(rise_fraction) - base,
            base_ratio=base_ratio,
            moments=moments,
            head_log_odds_ratio=0.0 if head_ratio is None else log_odds(head_ratio) - base,
            similarity=similarity,
        )


class CalibrationFit(Struct, frozen=True, kw_only=True, gc=False):
    """Coefficients that turn a vote into a calibrated probability of a rise.

    Log odds = base rate's + ``vote_slope`` · ``similarity_rank``² · vote + ``head_slope`` · head, with vote and
    head as log odds ratios. ``similarity_rank`` (0 to 1) is the fraction of past votes whose nearest moment was no
    more similar than this vote's: neighbors that are like nothing known agree by chance as often as others.
    Slopes are never negative, and near zero where vote and head did not predict. ``n_votes`` is the number of
    past votes, with known outcomes, that were fitted.
    """

    vote_slope: float = field(name="slope")
    n_votes: int = field(name="votes")
    head_slope: float = field(default=0.0, name="head")
    similarity_rank: float = field(default=1.0, name="alike")

    def rise_probability(self, vote: Vote) -> float:
        """The calibrated probability of a rise after a vote."""
        weighted_vote = self.vote_slope * self.similarity_rank**2 * vote.log_odds_ratio
        calibrated = weighted_vote + self.head_slope * vote.head_log_odds_ratio
        return 1.0 / (1.0 + math.exp(-log_odds(vote.base_ratio) - calibrated))


class _ScoredVote(NamedTuple):
    """Sorted by time and symbol, so that the order in which votes came does not matter."""

    matured_ms: int
    symbol: str
    vote: Vote
    base_log_odds: float
    rose: float


class _Fit(NamedTuple):
    """Slopes of some scored votes; ``similarities`` are theirs, ascending."""

    vote_slope: float
    head_slope: float
    similarities: Floats

    def similarity_rank(self, similarity: float | Floats) -> Floats:
        """Fraction of votes that were no more similar; of these and the new one, so never zero."""
        no_more = np.searchsorted(self.similarities, similarity, side="right")
        return np.asarray((1.0 + no_more) / (1.0 + len(self.similarities)))


class Calibration:
    """Calibrates votes by logistic regression on matured votes of the last ``span_ms`` milliseconds.

    Coefficients are non-negative and shrunk to zero by a Gaussian prior. Votes of a memory less than half
    today's size are left out: a larger memory gives larger log odds where it is right. The fit depends on those
    votes only, not on their order, so replaying the bars reproduces it bit for bit.
    """

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._scored: list[_ScoredVote] = []
        self._fit: _Fit | None = None
        self._fitted_on = (0, 0)

    def learn(self, symbol: str, matured_ms: int, vote: Vote, forward_return: float) -> None:
        """Score a vote by its realized log return; a return of exactly zero is half a rise.

        Votes of one symbol must not overlap: outcomes that share bars are not independent.
        """
        rose = 1.0 if forward_return > 0.0 else 0.5 if forward_return == 0.0 else 0.0
        scored = _ScoredVote(matured_ms, symbol, vote, log_odds(vote.base_ratio), rose)
        insort(self._scored, scored, key=_when)
        # Twice the span, for bars that come late and are calibrated as of their own time.
        kept_ms = self._scored[-1].matured_ms - 2 * self._span_ms
        del self._scored[: bisect_right(self._scored, kept_ms, key=_matured)]
        self._fit = None

    def fit_at(self, now_ms: int, moments: int, similarity: float = 1.0) -> CalibrationFit:
        """The fit as of ``now_ms`` for a memory of ``moments`` whose nearest one has this ``similarity``."""
        first = bisect_right(self._scored, now_ms - self._span_ms, key=_matured)
        end = bisect_right(self._scored, now_ms, key=_matured)
        while first < end and 2 * self._scored[first].vote.moments < moments:
            first += 1
        if self._fit is None or self._fitted_on != (first, end):
            self._fit, self._fitted_on = _fitted(self._scored[first:end]), (first, end)
        fit = self._fit
        return CalibrationFit(
            vote_slope=fit.vote_slope,
            n_votes=end - first,
            head_slope=fit.head_slope,
            similarity_rank=float(fit.similarity_rank(similarity)),
        )


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)), finite for every p: it is clipped to 0.001 .. 0.999."""
    probability = min(max(probability, _MIN_PROBABILITY), 1.0 - _MIN_PROBABILITY)
    return math.log(probability / (1.0 - probability))


def _fitted(scored: list[_ScoredVote]) -> _Fit:
    votes = [one.vote for one in scored]
    neighbors = np.array([vote.log_odds_ratio for vote in votes], dtype=np.float64)
    head = np.array([vote.head_log_odds_ratio for vote in votes], dtype=np.float64)
    similarity = np.array([vote.similarity for vote in votes], dtype=np.float64)
    base_log_odds = np.array([vote.base_log_odds for vote in scored], dtype=np.float64)
    rose = np.array([vote.rose for vote in scored], dtype=np.float64)
    fit = _Fit(vote_slope=0.0, head_slope=0.0, similarities=np.sort(similarity))
    columns = np.stack((neighbors * fit.similarity_rank(similarity) ** 2, head))
    coefficients = np.zeros(len(columns))
    positive = list(range(len(columns)))
    while positive:
        found = _most_likely(columns[positive], base_log_odds, rose, _PRECISION[positive])
        if min(found) >= 0.0:
            coefficients[positive] = found
            break
        # A column that was wrong more often than not is left out: its opposite is no forecast.
        del positive[int(np.argmin(found))]
    vote_slope, head_slope = coefficients.tolist()
    # Never quite zero: the direction of a vote stays visible.
    return fit._replace(vote_slope=max(vote_slope, _MIN_SLOPE), head_slope=head_slope)


def _most_likely(columns: Floats, base_log_odds: Floats, rose: Floats, precision: Floats) -> list[float]:
    """Coefficients (k,) of a logistic regression on ``columns`` (k, n) with a Gaussian prior, by Newton's method.

    The log likelihood is concave and the prior keeps it from being flat, so there is one maximum. A step is at
    most 1 in any coefficient.
    """
    from bot.model.kernels import series

    found = np.zeros(len(columns))
    for _ in range(_STEPS):
        gradient, information = series.logistic_gradient(columns, base_log_odds, rose, found)
        step = np.linalg.solve(information + np.diag(precision), gradient - precision * found)
        size = float(np.abs(step).max())
        found = found + step * min(1.0, _MAX_STEP / max(size, _MAX_STEP))
        if size < 1e-9:
            break
    coefficients: list[float] = found.tolist()
    return coefficients


def _matured(scored: _ScoredVote) -> int:
    return scored.matured_ms


def _when(scored: _ScoredVote) -> tuple[int, str]:
    return scored.matured_ms, scored.symbol
