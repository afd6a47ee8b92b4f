"""The raw shape of a moment, and the views of it that were played slower or faster."""

import math

import numpy as np
from numpy.typing import NDArray

from bot.model.features import KEY_BARS, FeatureWindow

Shape = NDArray[np.float32]
Views = NDArray[np.float32]

SHAPE_BARS = 40
"""Returns in a shape."""

SPEEDS = np.geomspace(0.7, 1.43, 9)
"""Bars of the moment for one bar of a view."""


def _warps() -> NDArray[np.float64]:
    """(views x bars, returns): reads a view off the last returns, both of them ending at the same bar."""
    weights = np.zeros((len(SPEEDS), SHAPE_BARS, KEY_BARS))
    ages = np.arange(SHAPE_BARS - 1, -1, -1)
    for speed, view in zip(SPEEDS, weights, strict=True):
        for bar, age in enumerate(speed * ages):
            place = KEY_BARS - 1 - age
            before = math.floor(place)
            # What lies before the first return at hand stays zero: no bar may decide that is not at hand.
            if before >= 0:
                view[bar, before] = before + 1 - place
            if 0 <= before + 1 < KEY_BARS:
                view[bar, before + 1] = place - before
    return weights.reshape(-1, KEY_BARS)


_WARPS = _warps()


def shape_of(window: FeatureWindow) -> Shape | None:
    """The last 40 scaled returns as a float32 vector of unit length.

    None where too few bars are known, or the price stood still.
    """
    scaled = window.scaled_returns(KEY_BARS)
    if len(scaled) < KEY_BARS:
        return None
    shape = scaled[-SHAPE_BARS:]
    largest = float(np.abs(shape).max())
    if largest == 0.0:
        return None
    shape = shape / largest
    return (shape / math.sqrt(np.dot(shape, shape))).astype(np.float32)


def views_of(window: FeatureWindow) -> Views:
    """The newest moment at nine speeds: float32 (9, 40), each row of unit length.

    Only for a window that has a shape. A view in which nothing moves is zero.
    """
    views = (_WARPS @ window.scaled_returns(KEY_BARS)).reshape(len(SPEEDS), SHAPE_BARS)
    norms = np.sqrt(np.einsum("ij,ij->i", views, views))
    unit: Views = (views / np.maximum(norms, 1e-12)[:, None]).astype(np.float32)
    return unit
