"""Neighbors become a distribution of what follows, and how much of it is chance."""

from msgspec import Struct


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
