"""Neighbors become a distribution of what follows, and how much of it is chance."""

import math
from collections.abc import Sequence

from msgspec import Struct

from bot.model.memory import BaseRate, Neighbor


class Forecast(Struct, frozen=True, kw_only=True, gc=False):
    """What the neighbors say of the next ``horizon_bars``, shrunk to the memory's own base rate.

    Returns are log returns. ``effective`` is Kish's number of distinct episodes behind the vote;
    ``chance`` is the probability that moments without any edge would lean as far (two-sided).
    """

    expected_return: float
    return_std: float
    positive_ratio: float
    base_return: float
    base_ratio: float
    effective: float
    chance: float
    best_similarity: float


def forecast_from(neighbors: Sequence[Neighbor], base: BaseRate, prior_strength: float) -> Forecast:
    """What one or more distinct episodes, whose weights sum to 1, say together.

    Their weighted mean and share of rises (ties count half) are drawn toward the base rate, which
    counts for ``prior_strength`` episodes against their effective number. The spread is their own.
    """
    effective = 1.0 / sum(neighbor.weight * neighbor.weight for neighbor in neighbors)
    mean = sum(neighbor.weight * neighbor.forward_return for neighbor in neighbors)
    variance = sum(neighbor.weight * (neighbor.forward_return - mean) ** 2 for neighbor in neighbors)
    rises = sum(neighbor.weight * _rise(neighbor.forward_return) for neighbor in neighbors)
    trust = effective / (effective + prior_strength)
    return Forecast(
        expected_return=trust * mean + (1.0 - trust) * base.mean_return,
        return_std=math.sqrt(variance),
        positive_ratio=trust * rises + (1.0 - trust) * base.positive_ratio,
        base_return=base.mean_return,
        base_ratio=base.positive_ratio,
        effective=effective,
        chance=chance_of(rises * effective, effective, base.positive_ratio),
        best_similarity=neighbors[0].similarity,
    )


def chance_of(rises: float, draws: float, base_ratio: float) -> float:
    """How often ``draws`` moments that rise with ``base_ratio`` lean at least as far as ``rises`` do.

    Twice the smaller tail of the binomial distribution, at most 1; between whole numbers the tail is
    the incomplete beta function that goes through them: P(X >= s) = I_p(s, n - s + 1). Only signs are
    counted. Returns have heavy tails and come from calm and wild times, where a mean over its standard
    error, taken from a dozen values, is far too often far from zero; the sign of each is a fair draw
    whatever its size. Eight of ten fair coins, or more, or as few as two: 0.109.
    """
    rises = min(max(rises, 0.0), draws)
    at_least = _beta_share(rises, draws - rises + 1.0, base_ratio) if rises > 0.0 else 1.0
    at_most = _beta_share(draws - rises, rises + 1.0, 1.0 - base_ratio) if rises < draws else 1.0
    return min(1.0, 2.0 * min(at_least, at_most))


def _rise(forward_return: float) -> float:
    return 1.0 if forward_return > 0.0 else 0.5 if forward_return == 0.0 else 0.0


def _beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0.

    Its power series, whose terms are all positive (DLMF 8.17.8), on the side where it converges fast.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_share(b, a, 1.0 - x)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a + 1.0) - math.lgamma(b)
    term = total = 1.0
    i = 0
    while term > 1e-16 * total:
        term *= x * (a + b + i) / (a + 1.0 + i)
        total += term
        i += 1
    return min(1.0, math.exp(front) * total)
