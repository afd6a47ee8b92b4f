"""How much each recalled moment counts: by how alike it is, how old, and whether its regime was the same."""

import math
from collections.abc import Sequence

# Votes that sum to less have lost digits, or all of them.
_LEAST_TOTAL = 1e-280


def weights_of(
    similarities: Sequence[float],
    ages_ms: Sequence[int],
    same_regime: Sequence[bool] | None,
    *,
    temperature: float,
    half_life_ms: float,
    other_regime_weight: float,
) -> list[float]:
    """Weights that sum to 1, of moments that stand the most similar first.

    ``temperature`` is the difference in similarity that makes a weight e times another; a weight halves with
    every ``half_life_ms`` of age (0: never), and is multiplied by ``other_regime_weight`` where the regime
    was another (``same_regime`` None: nobody knows).
    """
    votes = [math.exp((similarity - similarities[0]) / temperature) for similarity in similarities]
    if half_life_ms:
        votes = [vote * 2.0 ** (-age_ms / half_life_ms) for vote, age_ms in zip(votes, ages_ms, strict=True)]
    if same_regime is not None:
        votes = [
            vote if same else vote * other_regime_weight
            for vote, same in zip(votes, same_regime, strict=True)
        ]
    if votes and sum(votes) < _LEAST_TOTAL:
        # All of them are thousands of half-lives old: only the differences count.
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
