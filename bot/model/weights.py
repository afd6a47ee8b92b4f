"""The weight of each recalled moment: by similarity, age and regime."""

import math
from collections.abc import Sequence

# Weights that sum to less have lost digits to underflow.
_MIN_TOTAL = 1e-280


def weights_of(
    similarities: Sequence[float],
    ages_ms: Sequence[int],
    same_regime: Sequence[bool] | None,
    *,
    temperature: float,
    half_life_ms: float,
    other_regime_weight: float,
) -> list[float]:
    """Weights (n,) that sum to 1, of moments in descending order of similarity.

    w ∝ exp(similarity / ``temperature``) · 2^(-age / ``half_life_ms``) (a half-life of 0: no decay), multiplied by
    ``other_regime_weight`` where the regime was another (``same_regime`` None: not compared).
    """
    votes = [math.exp((similarity - similarities[0]) / temperature) for similarity in similarities]
    if half_life_ms:
        votes = [vote * 2.0 ** (-age_ms / half_life_ms) for vote, age_ms in zip(votes, ages_ms, strict=True)]
    if same_regime is not None:
        votes = [
            vote if same else vote * other_regime_weight
            for vote, same in zip(votes, same_regime, strict=True)
        ]
    if votes and sum(votes) < _MIN_TOTAL:
        # All of them are thousands of half-lives old: computed from logarithms, relative to the largest.
        logs = [(similarity - similarities[0]) / temperature for similarity in similarities]
        if half_life_ms:
            youngest = min(ages_ms)
            logs = [
                log - math.log(2.0) * ((age_ms - youngest) / half_life_ms)
                for log, age_ms in zip(logs, ages_ms, strict=True)
            ]
        if same_regime is not None:
            other = math.log(other_regime_weight)
            logs = [log if same else log + other for log, same in zip(logs, same_regime, strict=True)]
        largest = max(logs)
        votes = [math.exp(log - largest) for log in logs]
    total = sum(votes)
    return [vote / total for vote in votes]
