"""Neighbors become a distribution of what follows, and how much of it is chance."""

import math
from collections.abc import Sequence

from msgspec import Struct

from bot.model.calibration import Belief, Vote
from bot.model.memory.moments import BaseRate, Neighbor
from bot.model.outlook import Outlook


class Forecast(Struct, frozen=True, kw_only=True, gc=False):
    """What the neighbors say of the next ``horizon_bars``, shrunk to the memory's own base rate.

    Returns are log returns. ``vote`` is the neighbors' share of rises, and ``positive_ratio`` what is left
    of it, and of the head's own view, once the ``belief`` in both was asked for: the probability of a
    rise. ``expected_return`` is that probability's worth at the usual size of a move, ``mean_return`` the
    neighbors' own mean. ``outlook`` is the distribution that head and memory give, None without trained
    odds; ``return_std`` is its spread, else the neighbors' own. ``moments`` counts all that the memory knew.
    ``effective`` is Kish's number of distinct episodes behind the vote; ``chance`` is the probability
    that moments without any edge would lean as far (two-sided).
    """

    expected_return: float
    return_std: float
    positive_ratio: float
    vote: float
    mean_return: float
    base_return: float
    base_ratio: float
    moments: int
    effective: float
    chance: float
    best_similarity: float
    belief: Belief | None = None
    outlook: Outlook | None = None

    @property
    def cast(self) -> Vote:
        """The vote as it is held against the outcome later."""
        return _vote(self.vote, self.base_ratio, self.moments, self.outlook, self.best_similarity)

    @property
    def rising(self) -> bool:
        """Whether moments like this one rise more often than others."""
        return self.vote > self.base_ratio


def forecast_from(
    neighbors: Sequence[Neighbor],
    base: BaseRate,
    prior_strength: float,
    volatility: float,
    belief: Belief | None = None,
    outlook: Outlook | None = None,
) -> Forecast:
    """What one or more distinct episodes, whose weights sum to 1, say together.

    What followed each is measured in the volatility of its own time and told in today's. The weighted
    mean and share of rises (ties count half) are drawn toward the base rate, which counts for
    ``prior_strength`` episodes against their effective number. The spread is their own where there is no
    ``outlook``.

    What is expected comes from the share of rises and not from the mean: of a few dozen heavy-tailed
    outcomes one wild one can outweigh all others, while each has one sign.
    """
    effective = 1.0 / sum(neighbor.weight * neighbor.weight for neighbor in neighbors)
    moves = [(neighbor.weight, neighbor.forward_return / neighbor.volatility) for neighbor in neighbors]
    mean = sum(weight * move for weight, move in moves)
    variance = sum(weight * (move - mean) ** 2 for weight, move in moves)
    rises = sum(weight * _rise(move) for weight, move in moves)
    trust = effective / (effective + prior_strength)
    base_ratio = base.positive_ratio
    vote = trust * rises + (1.0 - trust) * base_ratio
    cast = _vote(vote, base_ratio, base.moments, outlook, neighbors[0].similarity)
    likely = vote if belief is None else belief.rise_probability(cast)
    return Forecast(
        expected_return=volatility * (base.mean_move + 2.0 * (likely - base_ratio) * base.mean_size),
        return_std=volatility * math.sqrt(variance) if outlook is None else outlook.spread,
        positive_ratio=likely,
        vote=vote,
        mean_return=volatility * (trust * mean + (1.0 - trust) * base.mean_move),
        base_return=volatility * base.mean_move,
        base_ratio=base_ratio,
        moments=base.moments,
        effective=effective,
        chance=chance_of(rises * effective, effective, base_ratio),
        best_similarity=neighbors[0].similarity,
        belief=belief,
        outlook=outlook,
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


def _vote(share: float, base_ratio: float, moments: int, outlook: Outlook | None, similarity: float) -> Vote:
    head_ratio = None if outlook is None else outlook.head_ratio
    return Vote.of(share, base_ratio, moments, head_ratio, similarity)


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
