"""From a window of bars to a key: trained encoders, one forward pass a bar.

Two architectures share one interface (:class:`~bot.model.features.Encoder`) and one training. Both read only
returns divided by the volatility known before each of them, so they are free of scale and serve any symbol and
interval. A key is a function of a fixed number of last bars: observing those again gives the same bits.
"""

from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.model.features import VOLATILITY_BARS, FeatureWindow, Floats, Keys, windows_of
from bot.model.network.parameters import (
    Count,
    Shapes,
    Tensor,
    Weights,
    norm_shapes,
    packed_layer,
    packed_norm,
    require_weights,
)
from bot.model.network.streaming import StreamingTransformer, TransformerEncoder

_CHUNK_BARS = 512


class WindowNetwork(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="window"
):
    """The last ``bars`` returns at once through residual blocks of ``width``, plus a linear skip."""

    bars: Annotated[int, Meta(ge=2, le=512)] = 48
    width: Count = 512
    blocks: Count = 2
    dimension: Count = 64

    def shapes(self) -> Shapes:
        """The weights by name; matrices are (out, in)."""
        shapes: Shapes = {
            "in.weight": (self.width, self.bars),
            "in.bias": (self.width,),
            "out.weight": (self.dimension, self.width),
            "out.bias": (self.dimension,),
            "skip.weight": (self.dimension, self.bars),
        }
        for i in range(self.blocks):
            shapes |= norm_shapes(f"block{i}.norm", self.width)
            shapes |= {f"block{i}.weight": (self.width, self.width), f"block{i}.bias": (self.width,)}
        return shapes


Network = WindowNetwork | StreamingTransformer


def build_encoder(network: Network, weights: Weights) -> "WindowEncoder | TransformerEncoder":
    """The encoder of trained weights. Raises ValueError where they do not fit the network."""
    require_weights(network.shapes(), weights)
    if isinstance(network, WindowNetwork):
        return WindowEncoder(network, weights)
    return TransformerEncoder(network, weights)


class WindowEncoder:
    """:class:`WindowNetwork` with its weights."""

    def __init__(self, network: WindowNetwork, weights: Weights) -> None:
        from bot.model.kernels import layers

        self._kernels = layers
        self.network = network
        self.dimension = network.dimension
        self.window_bars = network.bars
        self.receptive_bars = network.bars + VOLATILITY_BARS + 1
        parts = [packed_layer(weights, "in")]
        for i in range(network.blocks):
            parts += [packed_norm(weights, f"block{i}.norm"), packed_layer(weights, f"block{i}")]
        self._packed = np.concatenate([*parts, packed_layer(weights, "out"), packed_layer(weights, "skip")])

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """See :class:`~bot.model.features.Encoder`."""
        return self.keys(window.scaled_returns(n + self.network.bars - 1))

    def keys(self, scaled: Floats) -> Keys:
        """Keys of all windows in n contiguous scaled returns: float32 (n - bars + 1, dimension).

        Zero for a window in which the price did not move.
        """
        network = self.network
        keys = np.empty((max(0, len(scaled) - network.bars + 1), self.dimension), dtype=np.float32)
        for i in range(0, len(keys), _CHUNK_BARS):
            rows = unit_scale(windows_of(scaled[i : i + _CHUNK_BARS + network.bars - 1], network.bars))
            chunk = keys[i : i + _CHUNK_BARS]
            self._kernels.window_keys(rows, self._packed, network.width, network.blocks, chunk)
            chunk[~rows.any(axis=1)] = 0.0
        return keys


def unit_scale(windows: Floats) -> Tensor:
    """(…, bars) to float32 rows of root mean square 1; rows of zeros stay."""
    # The largest first: the squares of returns near the smallest float would vanish.
    largest = np.maximum.reduce(np.abs(windows), axis=-1, keepdims=True)
    shape = windows / np.where(largest == 0.0, 1.0, largest)
    size = np.sqrt(_mean(shape * shape))
    return np.asarray(shape / np.where(size == 0.0, 1.0, size), dtype=np.float32)


def _mean(x: NDArray[Any]) -> NDArray[Any]:
    # As mean() does, without its general overhead, which is most of its time for one bar.
    mean: NDArray[Any] = np.add.reduce(x, axis=-1, keepdims=True)
    mean /= x.shape[-1]
    return mean
