"""The regime of a bar, from past bars only: its trend, up, down or sideways, and its volatility, calm or turbulent."""

import numpy as np

from bot.model.features import RECEPTIVE_BARS, FeatureWindow

REGIMES = tuple(
    f"{trend}/{volatility}" for trend in ("up", "down", "sideways") for volatility in ("calm", "turbulent")
)
"""Every name that :func:`last_regimes` gives, as in ``up/calm``."""

TREND_BARS = 96
"""Bars of a trend."""

RECENT_VOLATILITY_BARS = 24
"""Bars whose mean absolute return is compared with all other such means of the window."""

_MOVES = 256
_TREND_T = 1.0


def last_regimes(window: FeatureWindow, n: int) -> list[str]:
    """The regimes at the closes of the newest ``n`` bars, the newest last; fewer where too few bars are known.

    The trend is up or down where the mean of the last 96 log returns is more than one standard error from zero
    (two thirds of a random walk's bars are sideways). The volatility is turbulent where the mean absolute return of
    the last 24 bars is above the median of all such means in the last 256.
    """
    from bot.model.kernels import series

    n = min(n, len(window) - RECEPTIVE_BARS + 1)
    if n <= 0:
        return []
    means, errors, calmer = np.empty(n), np.empty(n), np.empty(n)
    series.trend_and_volatility(
        window.returns(n + _MOVES - 1), _MOVES, TREND_BARS, RECENT_VOLATILITY_BARS, means, errors, calmer
    )
    regimes = []
    for mean, error, turbulent in zip(means.tolist(), errors.tolist(), (calmer > 0.5).tolist(), strict=True):
        trend = "sideways" if abs(mean) <= _TREND_T * error else "up" if mean > 0 else "down"
        regimes.append(f"{trend}/{'turbulent' if turbulent else 'calm'}")
    return regimes
