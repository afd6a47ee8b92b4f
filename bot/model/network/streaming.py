"""A streaming transformer: one token a bar, its keys and values kept from bar to bar."""

import math
from typing import Annotated
from weakref import WeakKeyDictionary

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
)

# Tokens in one call of the kernel, so that weights are read once for all of them.
_TOKENS = 16


class StreamingTransformer(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="transformer"
):
    """One token a bar, causal sliding-window attention, pre-norm: memory of the past in keys and values.

    A token carries the last ``patch`` returns; in each of ``layers`` layers it attends to itself and the
    ``attention_bars - 1`` tokens before it, in ``heads`` heads of ``width / heads`` dimensions. Positions
    are rotary, by the distance between two tokens: the m-th plane of a head turns by m whole turns over
    ``period`` bars, so that no position grows with time and bar ten million is rounded like bar ten.
    """

    patch: Annotated[int, Meta(ge=1, le=512)] = 16
    width: Count = 128
    layers: Count = 2
    heads: Count = 4
    attention_bars: Annotated[int, Meta(ge=2, le=512)] = 17
    inner: Count = 384
    dimension: Count = 64

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"a width of {self.width} does not give {self.heads} heads of even size")

    @property
    def tokens(self) -> int:
        """Tokens that a key depends on."""
        return self.layers * (self.attention_bars - 1) + 1

    @property
    def bars(self) -> int:
        """Returns that a key depends on."""
        return self.patch + self.tokens - 1

    @property
    def period(self) -> int:
        """Bars in which every rotation makes whole turns: a power of two, at least twice the attention's reach."""
        return 1 << (2 * self.attention_bars - 1).bit_length()

    def turns(self) -> NDArray[np.int64]:
        """Whole turns over a period of each plane of a head: (width / heads / 2,)."""
        planes = self.width // self.heads // 2
        # Spread evenly over what a period can tell apart, so that any one distance can be singled out.
        return 1 + np.arange(planes) * (self.period // 2) // planes

    def shapes(self) -> Shapes:
        """The weights by name; matrices are (out, in)."""
        shapes: Shapes = {
            "in.weight": (self.width, self.patch),
            "in.bias": (self.width,),
            "out.weight": (self.dimension, self.width),
            "out.bias": (self.dimension,),
        } | norm_shapes("norm", self.width)
        for i in range(self.layers):
            shapes |= norm_shapes(f"layer{i}.norm", self.width) | norm_shapes(
                f"layer{i}.mlp.norm", self.width
            )
            shapes |= {
                f"layer{i}.query.weight": (self.width, self.width),
                f"layer{i}.key_value.weight": (2 * self.width, self.width),
                f"layer{i}.key_value.bias": (2 * self.width,),
                f"layer{i}.query.bias": (self.width,),
                f"layer{i}.attended.weight": (self.width, self.width),
                f"layer{i}.mlp.up.weight": (self.inner, self.width),
                f"layer{i}.mlp.up.bias": (self.inner,),
                f"layer{i}.mlp.down.weight": (self.width, self.inner),
                f"layer{i}.mlp.down.bias": (self.width,),
            }
        return shapes


class TransformerEncoder:
    """:class:`StreamingTransformer` with its weights, and the state of each window's stream of tokens.

    The keys and values of a window's last tokens are kept, so that one more bar costs one token. They follow
    from the window: where it does not continue from the last bar seen, they are computed again.
    """

    def __init__(self, network: StreamingTransformer, weights: Weights) -> None:
        from bot.model.kernels import layers

        self._kernels = layers
        self.network = network
        self.dimension = network.dimension
        self.window_bars = network.bars
        self.receptive_bars = network.bars + VOLATILITY_BARS + 1
        self._packed = _packed(network, weights)
        distance = np.arange(network.attention_bars - 1, -1, -1)
        angle = (distance[:, None] * network.turns() % network.period) * (2.0 * math.pi / network.period)
        # (2, d / 2, attention_bars), the farthest token first.
        self._turns = np.stack([f(angle).astype(np.float32).T for f in (np.cos, np.sin)])
        self._streams: WeakKeyDictionary[FeatureWindow, _Stream] = WeakKeyDictionary()

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """See :class:`~bot.model.features.Encoder`."""
        network = self.network
        scaled = window.scaled_returns(n + network.bars - 1)
        stream = self._streams.get(window)
        if stream is None:
            stream = self._streams[window] = _Stream(network)
        count = max(0, len(scaled) - network.bars + 1)
        if not count:
            return np.zeros((0, self.dimension), dtype=np.float32)
        first_start_ms = window.next_start_ms - (count - 1) * window.interval_ms
        missed = (first_start_ms - stream.next_start_ms) // window.interval_ms
        # Where it does not continue, all tokens that the first key depends on: only so are the bits the same.
        tokens = count - 1 + (missed if missed in (0, 1) else network.tokens)
        newest = stream.key
        keys = self._advance(stream, scaled, tokens)
        if tokens < count:
            keys = np.concatenate((newest, keys))
        keys = keys[-count:]
        stream.next_start_ms, stream.key = window.next_start_ms, keys[-1:].copy()
        for i in range(count):
            if not (scaled[i + network.bars - 1] or scaled[i : i + network.bars].any()):
                keys[i] = 0.0
        return keys

    def keys(self, scaled: Floats) -> Tensor:
        """Keys of all windows in n contiguous scaled returns: float32 (n - bars + 1, dimension).

        The bits of :meth:`last_keys`, but that a window in which the price did not move has a key, too.
        """
        network = self.network
        if len(scaled) < network.bars:
            return np.empty((0, self.dimension), dtype=np.float32)
        keys = self._advance(_Stream(network), scaled, len(scaled) - network.patch + 1)
        return keys[network.tokens - 1 :]

    def _advance(self, stream: "_Stream", scaled: Floats, tokens: int) -> Keys:
        """Keys of the last ``tokens`` tokens, which ``scaled`` ends with: (tokens, dimension)."""
        network = self.network
        run = scaled[len(scaled) - network.patch + 1 - tokens :].astype(np.float32)
        patches = windows_of(run, network.patch)
        keys = np.empty((tokens, self.dimension), dtype=np.float32)
        for i in range(0, tokens, _TOKENS):
            batch = patches[i : i + _TOKENS]
            self._kernels.transformer_keys(
                batch,
                self._packed,
                network.inner,
                self._turns,
                network.heads,
                stream.keys,
                stream.values,
                stream.advance(len(batch)),
                keys[i : i + _TOKENS],
            )
        return keys


class _Stream:
    """Keys and values of one window's last tokens: (layers, width, room) each, the oldest token first."""

    def __init__(self, network: StreamingTransformer) -> None:
        self._reach = network.attention_bars
        # Room for many more: the last ones move to the front once in that many bars.
        room = 8 * self._reach + _TOKENS
        self.keys = np.zeros((network.layers, network.width, room), dtype=np.float32)
        self.values = np.zeros_like(self.keys)
        self.next_start_ms = -1
        self.key: Keys = np.zeros((1, network.dimension), dtype=np.float32)
        self._end = self._reach - 1

    def advance(self, tokens: int) -> int:
        """Make room for ``tokens`` more, and return the column after the last one's."""
        if self._end + tokens > self.keys.shape[2]:
            kept = self._reach - 1
            for rows in (self.keys, self.values):
                rows[:, :, :kept] = rows[:, :, self._end - kept : self._end]
            self._end = kept
        self._end += tokens
        return self._end


def _packed(network: StreamingTransformer, weights: Weights) -> Tensor:
    """All weights, flat, in the order in which a token uses them."""
    parts = [packed_layer(weights, "in")]
    for i in range(network.layers):
        name = f"layer{i}"
        projection = {
            kind: np.concatenate((weights[f"{name}.query.{kind}"], weights[f"{name}.key_value.{kind}"]))
            for kind in ("bias", "weight")
        }
        parts += [
            packed_norm(weights, f"{name}.norm"),
            projection["bias"],
            projection["weight"].T.ravel(),
            packed_layer(weights, f"{name}.attended"),
            packed_norm(weights, f"{name}.mlp.norm"),
            packed_layer(weights, f"{name}.mlp.up"),
            packed_layer(weights, f"{name}.mlp.down"),
        ]
    return np.concatenate([*parts, packed_norm(weights, "norm"), packed_layer(weights, "out")])
