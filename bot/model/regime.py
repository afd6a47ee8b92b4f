"""The regime of a bar, from the past alone: where the market has been going, and how wildly."""

import math

import numpy as np

from bot.model.features import RECEPTIVE_BARS, FeatureWindow

REGIMES = tuple(f"{trend}/{mood}" for trend in ("up", "down", "sideways") for mood in ("calm", "turbulent"))
"""Every name that :func:`regime_of` gives, as in ``up/calm``."""

TREND_BARS = 96
"""Bars over which a trend is judged."""

MOOD_BARS = 24
"""Bars whose mean move is compared with all others of the window."""

_MOVES = 256
_MOOD = np.ones(MOOD_BARS)
_TREND_T = 1.0


def regime_of(window: FeatureWindow) -> str | None:
    """The newest bar's regime, None while too few bars are known.

    A trend is up or down where the mean of the last 96 log returns is more than one standard error
    from zero; of a random walk's bars two thirds are sideways. A market is turbulent where the mean
    absolute return of the last 24 bars is above the median of all such means in the last 256.
    """
    if len(window) < RECEPTIVE_BARS:
        return None
    returns = window.returns(_MOVES)
    recent = returns[-TREND_BARS:]
    # As mean() and std() do, without their general overhead, which is most of their time here.
    mean = float(np.add.reduce(recent)) / TREND_BARS
    spread = recent - mean
    error = math.sqrt(np.dot(spread, spread)) / TREND_BARS
    trend = "sideways" if abs(mean) <= _TREND_T * error else "up" if mean > 0 else "down"

    moves = np.convolve(np.abs(returns), _MOOD, "valid")
    calmer = int(np.count_nonzero(moves < moves[-1]))
    return f"{trend}/{'turbulent' if 2 * calmer > len(moves) else 'calm'}"
