"""A network's weights by name: their shapes, whether they fit, and in the flat order that the kernels read."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Weights = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

Count = Annotated[int, Meta(ge=1, le=4096)]

NORM_EPSILON = 1e-5
"""Added to the variance in each layer norm."""


def norm_shapes(name: str, width: int) -> Shapes:
    """The weights of a layer norm over ``width`` figures."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def require_weights(shapes: Shapes, weights: Weights) -> None:
    """Raises ValueError where names, shapes or types differ from ``shapes``, or a weight is not finite."""
    if missing := sorted(shapes.keys() ^ weights.keys()):
        raise ValueError(f"weights and network disagree on {', '.join(missing[:3])}")
    for name, shape in shapes.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise ValueError(f"{name} is {weights[name].dtype} {weights[name].shape}, not float32 {shape}")
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{name} is not finite")


def packed_layer(weights: Weights, name: str) -> Tensor:
    """A layer's bias, zero where it has none, then its matrix (in, out): flat."""
    weight = weights[f"{name}.weight"]
    bias = weights.get(f"{name}.bias", np.zeros(len(weight), dtype=np.float32))
    return np.concatenate((bias, weight.T.ravel()))


def packed_norm(weights: Weights, name: str) -> Tensor:
    """A layer norm's gains, then its biases: flat."""
    return np.concatenate((weights[f"{name}.weight"], weights[f"{name}.bias"]))
