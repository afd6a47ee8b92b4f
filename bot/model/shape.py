"""The raw shape of a moment, and views of it at other speeds (time-warped)."""

import math

import numpy as np
from numpy.typing import NDArray

from bot.model.features import KEY_BARS, FeatureWindow, unit_rows, windows_of

Shape = NDArray[np.float32]
Shapes = NDArray[np.float32]
Views = NDArray[np.float32]

SHAPE_BARS = 40
"""Returns in a shape."""

SPEEDS = np.geomspace(0.7, 1.43, 9)
"""Bars of the moment per bar of a view."""


def _warps() -> NDArray[np.float64]:
    """(views x bars, returns): linear interpolation of each view from the last returns; both end at the same bar."""
    weights = np.zeros((len(SPEEDS), SHAPE_BARS, KEY_BARS))
    ages = np.arange(SHAPE_BARS - 1, -1, -1)
    for speed, view in zip(SPEEDS, weights, strict=True):
        for bar, age in enumerate(speed * ages):
            place = KEY_BARS - 1 - age
            before = math.floor(place)
            # Before the first of these returns a view is zero: it depends on no earlier bar.
            if before >= 0:
                view[bar, before] = before + 1 - place
            if 0 <= before + 1 < KEY_BARS:
                view[bar, before + 1] = place - before
    return weights.reshape(-1, KEY_BARS)


_WARPS = _warps()


def last_shapes(window: FeatureWindow, n: int) -> Shapes:
    """At the closes of the newest ``n`` bars, the last 40 scaled returns: float32 (n, 40), the newest last.

    Each of unit length, or zero where the price did not move; fewer where too few bars are known.
    """
    scaled = window.scaled_returns(n + KEY_BARS - 1)
    # Only where there are enough returns for views of it, too.
    return unit_rows(windows_of(scaled[KEY_BARS - SHAPE_BARS :], SHAPE_BARS))


def views_of(window: FeatureWindow) -> Views:
    """The newest moment at nine speeds: float32 (9, 40), each row of unit length.

    Only for a window that has a shape. A view in which nothing moves is zero.
    """
    views = (_WARPS @ window.scaled_returns(KEY_BARS)).reshape(len(SPEEDS), SHAPE_BARS)
    norms = np.sqrt(np.einsum("ij,ij->i", views, views))
    unit: Views = (views / np.maximum(norms, 1e-12)[:, None]).astype(np.float32)
    return unit
