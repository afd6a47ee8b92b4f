"""Neighbors become one distribution of what follows, and a test of whether they agree by more than chance."""

import math
from collections.abc import Sequence

from msgspec import Struct, field

from bot.model.calibration import CalibrationFit, Vote
from bot.model.memory.moments import BaseRate, Neighbor
from bot.model.outlook import Outlook


class Forecast(Struct, frozen=True, kw_only=True, gc=False):
    """What the neighbors say of the next ``horizon_bars``, shrunk to the memory's own base rate.

    Returns are log returns over the horizon, before costs, as fractions. ``raw_probability`` of a rise is the
    neighbors' weighted fraction of rises, shrunk to the base rate ``base_ratio``; ``rise_probability`` is that
    and the network's forecast after ``calibration`` (None: not calibrated). ``expected_return`` follows from
    ``rise_probability`` and the mean size of a move, ``mean_return`` is the neighbors' own mean. ``outlook`` is
    the quantile forecast, None without a trained network; ``return_std`` is its standard deviation, else the
    neighbors' own. ``moments`` counts all that the memory knew; ``effective_sample_size`` is 1 / Σ weight² of the
    neighbors (Kish); ``p_value`` is how often moments without an edge agree at least as strongly (two-sided).
    """

    expected_return: float
    return_std: float
    rise_probability: float = field(name="positive_ratio")
    raw_probability: float = field(name="vote")
    mean_return: float
    base_return: float
    base_ratio: float
    moments: int
    effective_sample_size: float = field(name="effective")
    p_value: float = field(name="chance")
    best_similarity: float
    calibration: CalibrationFit | None = field(default=None, name="belief")
    outlook: Outlook | None = None

    @property
    def positive_ratio(self) -> float:
        """The former name of ``rise_probability``."""
        return self.rise_probability

    def to_vote(self) -> Vote:
        """The vote that is scored once the outcome is known."""
        return _vote(self.raw_probability, self.base_ratio, self.moments, self.outlook, self.best_similarity)

    @property
    def rising(self) -> bool:
        """Whether moments like this one rise more often than others."""
        return self.raw_probability > self.base_ratio


def forecast_from(
    neighbors: Sequence[Neighbor],
    base: BaseRate,
    prior_strength: float,
    volatility: float,
    calibration: CalibrationFit | None = None,
    outlook: Outlook | None = None,
) -> Forecast:
    """The forecast of one or more neighbors whose weights sum to 1, nearest first.

    Each neighbor's forward return is divided by the volatility of its time and multiplied by ``volatility``, that
    of one bar today (a fraction). The weighted mean and the fraction of rises (ties count half) are shrunk to the
    base rate: weight n / (n + ``prior_strength``) with n the effective sample size.

    The expected return is computed from the probability of a rise, not from the mean: among a few dozen
    heavy-tailed outcomes one extreme return can outweigh all others, while each has one sign.
    """
    effective = 1.0 / sum(neighbor.weight * neighbor.weight for neighbor in neighbors)
    moves = [(neighbor.weight, neighbor.forward_return / neighbor.volatility) for neighbor in neighbors]
    mean = sum(weight * move for weight, move in moves)
    variance = sum(weight * (move - mean) ** 2 for weight, move in moves)
    rises = sum(weight * _rise(move) for weight, move in moves)
    trust = effective / (effective + prior_strength)
    base_ratio = base.rise_rate
    raw = trust * rises + (1.0 - trust) * base_ratio
    vote = _vote(raw, base_ratio, base.moments, outlook, neighbors[0].similarity)
    probability = raw if calibration is None else calibration.rise_probability(vote)
    expected_move = base.mean_move + 2.0 * (probability - base_ratio) * base.mean_absolute_move
    return Forecast(
        expected_return=volatility * expected_move,
        return_std=volatility * math.sqrt(variance) if outlook is None else outlook.std,
        rise_probability=probability,
        raw_probability=raw,
        mean_return=volatility * (trust * mean + (1.0 - trust) * base.mean_move),
        base_return=volatility * base.mean_move,
        base_ratio=base_ratio,
        moments=base.moments,
        effective_sample_size=effective,
        p_value=sign_test_p_value(rises * effective, effective, base_ratio),
        best_similarity=neighbors[0].similarity,
        calibration=calibration,
        outlook=outlook,
    )


def sign_test_p_value(rises: float, draws: float, base_ratio: float) -> float:
    """Two-sided p-value of ``rises`` among ``draws`` moments that each rise with probability ``base_ratio``.

    Twice the smaller tail of the binomial distribution, at most 1; between whole numbers the tail is
    the incomplete beta function that passes through them: P(X >= s) = I_p(s, n - s + 1). Only signs are
    counted: returns have heavy tails and differ in volatility, so a mean over its standard error, taken from
    a dozen values, is far too often far from zero, while the sign of each is a fair draw whatever its size.
    Eight of ten fair coins, or more, or as few as two: 0.109.
    """
    rises = min(max(rises, 0.0), draws)
    at_least = _incomplete_beta(rises, draws - rises + 1.0, base_ratio) if rises > 0.0 else 1.0
    at_most = _incomplete_beta(draws - rises, rises + 1.0, 1.0 - base_ratio) if rises < draws else 1.0
    return min(1.0, 2.0 * min(at_least, at_most))


def _vote(
    rise_fraction: float, base_ratio: float, moments: int, outlook: Outlook | None, similarity: float
) -> Vote:
    head_ratio = None if outlook is None else outlook.head_ratio
    return Vote.of(rise_fraction, base_ratio, moments, head_ratio, similarity)


def _rise(forward_return: float) -> float:
    return 1.0 if forward_return > 0.0 else 0.5 if forward_return == 0.0 else 0.0


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0.

    Its power series, whose terms are all positive (DLMF 8.17.8), on the side where it converges fast.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a + 1.0) - math.lgamma(b)
    term = total = 1.0
    i = 0
    while term > 1e-16 * total:
        term *= x * (a + b + i) / (a + 1.0 + i)
        total += term
        i += 1
    return min(1.0, math.exp(front) * total)
