"""The regime of a bar, from the past alone: where the market has been going, and how wildly."""

import numpy as np

from bot.model.features import RECEPTIVE_BARS, FeatureWindow

REGIMES = tuple(f"{trend}/{mood}" for trend in ("up", "down", "sideways") for mood in ("calm", "turbulent"))
"""Every name that :func:`last_regimes` gives, as in ``up/calm``."""

TREND_BARS = 96
"""Bars over which a trend is judged."""

MOOD_BARS = 24
"""Bars whose mean move is compared with all others of the window."""

_MOVES = 256
_TREND_T = 1.0


def last_regimes(window: FeatureWindow, n: int) -> list[str]:
    """The regimes at the closes of the newest ``n`` bars, the newest last; fewer where too few bars are known.

    A trend is up or down where the mean of the last 96 log returns is more than one standard error
    from zero; of a random walk's bars two thirds are sideways. A market is turbulent where the mean
    absolute return of the last 24 bars is above the median of all such means in the last 256.
    """
    from bot.model.kernels import series

    n = min(n, len(window) - RECEPTIVE_BARS + 1)
    if n <= 0:
        return []
    means, errors, calmer = np.empty(n), np.empty(n), np.empty(n)
    series.trend_and_volatility(
        window.returns(n + _MOVES - 1), _MOVES, TREND_BARS, MOOD_BARS, means, errors, calmer
    )
    found = []
    for mean, error, wild in zip(means.tolist(), errors.tolist(), (calmer > 0.5).tolist(), strict=True):
        trend = "sideways" if abs(mean) <= _TREND_T * error else "up" if mean > 0 else "down"
        found.append(f"{trend}/{'turbulent' if wild else 'calm'}")
    return found
