"""A bar and its recent past become a key: trained networks, one forward pass a bar.

Two architectures share one seam (:class:`~bot.model.features.Encoder`) and one training. Both read only
returns over the volatility known before each of them, so they are free of scale and serve any symbol and
interval. A key is a function of a fixed number of last bars: observing those again gives the same bits.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.model.features import VOLATILITY_BARS, FeatureWindow, Floats, Keys, windows_of

Tensor = NDArray[np.float32]
Weights = Mapping[str, Tensor]

Count = Annotated[int, Meta(ge=1, le=4096)]

NORM_EPSILON = 1e-5
"""Added to the variance in each layer norm."""

_CHUNK_BARS = 512

# Tokens that are worked out together, so that weights are read once for all of them.
_TOKENS = 16


class WindowNetwork(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="window"
):
    """The last ``bars`` returns at once through residual blocks of ``width``, plus a linear skip."""

    bars: Annotated[int, Meta(ge=2, le=512)] = 48
    width: Count = 512
    blocks: Count = 2
    dimension: Count = 64

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights by name; matrices are (out, in)."""
        found: dict[str, tuple[int, ...]] = {
            "in.weight": (self.width, self.bars),
            "in.bias": (self.width,),
            "out.weight": (self.dimension, self.width),
            "out.bias": (self.dimension,),
            "skip.weight": (self.dimension, self.bars),
        }
        for i in range(self.blocks):
            found |= _norm_shapes(f"block{i}.norm", self.width)
            found |= {f"block{i}.weight": (self.width, self.width), f"block{i}.bias": (self.width,)}
        return found


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
        """Bars after which every rotation has come round: a power of two, at least twice the reach."""
        return 1 << (2 * self.attention_bars - 1).bit_length()

    def turns(self) -> NDArray[np.int64]:
        """Whole turns over a period of each plane of a head."""
        planes = self.width // self.heads // 2
        # Spread evenly over what a period can tell apart, so that any one distance can be singled out.
        return 1 + np.arange(planes) * (self.period // 2) // planes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights by name; matrices are (out, in)."""
        found: dict[str, tuple[int, ...]] = {
            "in.weight": (self.width, self.patch),
            "in.bias": (self.width,),
            "out.weight": (self.dimension, self.width),
            "out.bias": (self.dimension,),
        } | _norm_shapes("norm", self.width)
        for i in range(self.layers):
            found |= _norm_shapes(f"layer{i}.norm", self.width) | _norm_shapes(
                f"layer{i}.mlp.norm", self.width
            )
            found |= {
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
        return found


Network = WindowNetwork | StreamingTransformer


def build_encoder(network: Network, weights: Weights) -> "WindowEncoder | TransformerEncoder":
    """The encoder of trained weights. Raises ValueError where they do not fit the network."""
    expected = network.shapes()
    if missing := sorted(expected.keys() ^ weights.keys()):
        raise ValueError(f"weights and network disagree on {', '.join(missing[:3])}")
    for name, shape in expected.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise ValueError(f"{name} is {weights[name].dtype} {weights[name].shape}, not float32 {shape}")
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{name} is not finite")
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
        parts = [_layer(weights, "in")]
        for i in range(network.blocks):
            parts += [_norm_of(weights, f"block{i}.norm"), _layer(weights, f"block{i}")]
        self._packed = np.concatenate([*parts, _layer(weights, "out"), _layer(weights, "skip")])

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """See :class:`~bot.model.features.Encoder`."""
        return self.keys(window.scaled_returns(n + self.network.bars - 1))

    def keys(self, scaled: Floats) -> Keys:
        """Keys of all windows of an unbroken run of n scaled returns: float32 (n - bars + 1, dimension).

        Zero for a window that stood still.
        """
        network = self.network
        keys = np.empty((max(0, len(scaled) - network.bars + 1), self.dimension), dtype=np.float32)
        for i in _chunks(len(keys)):
            rows = unit_scale(windows_of(scaled[i : i + _CHUNK_BARS + network.bars - 1], network.bars))
            chunk = keys[i : i + _CHUNK_BARS]
            self._kernels.window_keys(rows, self._packed, network.width, network.blocks, chunk)
            chunk[~rows.any(axis=1)] = 0.0
        return keys


class TransformerEncoder:
    """:class:`StreamingTransformer` with its weights, and what each window's tokens left behind.

    The keys and values of a window's last tokens are kept so that a further bar costs one token. They
    follow from the window: where it does not go on from the last bar seen, they are worked out anew.
    """

    def __init__(self, network: StreamingTransformer, weights: Weights) -> None:
        from bot.model.kernels import layers

        self._kernels = layers
        self.network = network
        self.dimension = network.dimension
        self.window_bars = network.bars
        self.receptive_bars = network.bars + VOLATILITY_BARS + 1
        self._weights = weights
        self._packed = _transformer_weights(network, weights)
        distance = np.arange(network.attention_bars - 1, -1, -1)
        angle = (distance[:, None] * network.turns() % network.period) * (2.0 * math.pi / network.period)
        # (attention_bars, 1, d / 2), the farthest token first.
        self._cos, self._sin = (f(angle).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
        # The same as (2, d / 2, attention_bars).
        self._turns = np.stack([turn[:, 0].T for turn in (self._cos, self._sin)])
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
        # Where it does not go on, what a run that began now would do: only so are its keys the same bits.
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
        """Keys of all windows of an unbroken run of n scaled returns: float32 (n - bars + 1, dimension).

        Equal to :meth:`last_keys` up to rounding (5e-6): one banded pass, in chunks that stay in the cache.
        """
        network = self.network
        if len(scaled) < network.bars:
            return np.empty((0, self.dimension), dtype=np.float32)
        patches = np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), network.patch)
        halo = network.tokens - 1
        return np.concatenate(
            [self._banded(patches[i : i + _CHUNK_BARS + halo]) for i in _chunks(len(patches) - halo)]
        )

    def _advance(self, stream: "_Stream", scaled: Floats, tokens: int) -> Keys:
        """The tokens of so many last returns: their keys, (tokens, dimension)."""
        network = self.network
        run = scaled[len(scaled) - network.patch + 1 - tokens :].astype(np.float32)
        patches = windows_of(run, network.patch)
        keys = np.empty((tokens, self.dimension), dtype=np.float32)
        for i in range(0, tokens, _TOKENS):
            some = patches[i : i + _TOKENS]
            self._kernels.transformer_keys(
                some,
                self._packed,
                network.inner,
                self._turns,
                network.heads,
                stream.keys,
                stream.values,
                stream.advance(len(some)),
                keys[i : i + _TOKENS],
            )
        return keys

    def _banded(self, patches: Tensor) -> Tensor:
        """All tokens at once: (n, patch) to (n - tokens + 1, dimension)."""
        network, w = self.network, self._weights
        reach = network.attention_bars
        h = _linear(patches, w["in.weight"], w["in.bias"])  # (n, width)
        for i in range(network.layers):
            x = _norm(h, w, f"layer{i}.norm")
            rows = _linear(x, w[f"layer{i}.key_value.weight"], w[f"layer{i}.key_value.bias"])
            h, x = h[reach - 1 :], x[reach - 1 :]  # tokens with a whole past
            query = _linear(x, w[f"layer{i}.query.weight"], w[f"layer{i}.query.bias"])
            # (n, attention_bars, 2 width): what each token may look at, oldest first.
            seen = np.lib.stride_tricks.sliding_window_view(rows, reach, axis=0).swapaxes(1, 2)
            shape = (len(x), reach, network.heads, -1)
            keys, values = (part.reshape(shape) for part in np.split(seen, 2, axis=2))
            mixed = self._attend(query.reshape(len(x), network.heads, -1), keys, values)
            h = h + mixed @ w[f"layer{i}.attended.weight"].T
            h = h + self._mlp(h, i)
        return _unit(_linear(_norm(h, w, "norm"), w["out.weight"], w["out.bias"]))

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(n, heads, d), (n, attention_bars, heads, d) twice, to (n, width)."""
        half = query.shape[-1] // 2
        cos, sin = self._cos, self._sin
        first, second = query[:, None, :, :half], query[:, None, :, half:]
        # The query is turned by each distance, the keys stand as they are.
        turned = np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)
        scores = (turned * keys).sum(axis=-1) / np.float32(math.sqrt(2 * half))
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))  # (n, attention_bars, heads)
        shares = scores / scores.sum(axis=1, keepdims=True)
        mixed: Tensor = (shares[..., None] * values).sum(axis=1)
        return mixed.reshape(len(mixed), -1)

    def _mlp(self, h: Tensor, layer: int) -> Tensor:
        w, name = self._weights, f"layer{layer}.mlp"
        inner = _silu(_linear(_norm(h, w, f"{name}.norm"), w[f"{name}.up.weight"], w[f"{name}.up.bias"]))
        return _linear(inner, w[f"{name}.down.weight"], w[f"{name}.down.bias"])


class _Stream:
    """Keys and values of one window's last tokens, in each layer one slice of the room for them, oldest first."""

    def __init__(self, network: StreamingTransformer) -> None:
        self._reach = network.attention_bars
        # Room for many more: the last ones move to the front once in so many bars.
        room = 8 * self._reach + _TOKENS
        self.keys = np.zeros((network.layers, network.width, room), dtype=np.float32)
        self.values = np.zeros_like(self.keys)
        self.next_start_ms = -1
        self.key: Keys = np.zeros((1, network.dimension), dtype=np.float32)
        self._end = self._reach - 1

    def advance(self, tokens: int) -> int:
        """Make room for the next so many tokens: where the slot of the last one ends."""
        if self._end + tokens > self.keys.shape[2]:
            kept = self._reach - 1
            for rows in (self.keys, self.values):
                rows[:, :, :kept] = rows[:, :, self._end - kept : self._end]
            self._end = kept
        self._end += tokens
        return self._end


def _transformer_weights(network: StreamingTransformer, weights: Weights) -> Tensor:
    """In the order in which a token uses them."""
    parts = [_layer(weights, "in")]
    for i in range(network.layers):
        name = f"layer{i}"
        asked = {
            kind: np.concatenate((weights[f"{name}.query.{kind}"], weights[f"{name}.key_value.{kind}"]))
            for kind in ("bias", "weight")
        }
        parts += [
            _norm_of(weights, f"{name}.norm"),
            asked["bias"],
            asked["weight"].T.ravel(),
            _layer(weights, f"{name}.attended"),
            _norm_of(weights, f"{name}.mlp.norm"),
            _layer(weights, f"{name}.mlp.up"),
            _layer(weights, f"{name}.mlp.down"),
        ]
    return np.concatenate([*parts, _norm_of(weights, "norm"), _layer(weights, "out")])


def _layer(weights: Weights, name: str) -> Tensor:
    """Bias, zero where there is none, and matrix (in, out) in one."""
    weight = weights[f"{name}.weight"]
    bias = weights.get(f"{name}.bias", np.zeros(len(weight), dtype=np.float32))
    return np.concatenate((bias, weight.T.ravel()))


def _norm_of(weights: Weights, name: str) -> Tensor:
    return np.concatenate((weights[f"{name}.weight"], weights[f"{name}.bias"]))


def unit_scale(windows: Floats) -> Tensor:
    """(…, bars) to float32 rows of root mean square 1; rows of zeros stay."""
    # The largest first: the squares of returns near the smallest float would vanish.
    largest = np.maximum.reduce(np.abs(windows), axis=-1, keepdims=True)
    shape = windows / np.where(largest == 0.0, 1.0, largest)
    size = np.sqrt(_mean(shape * shape))
    return np.asarray(shape / np.where(size == 0.0, 1.0, size), dtype=np.float32)


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _chunks(count: int) -> Iterator[int]:
    return iter(range(0, count, _CHUNK_BARS))


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = x @ weight.T
    return product + bias


def _silu(x: Tensor) -> Tensor:
    # The logistic function by tanh, which never overflows.
    half = np.float32(0.5) * x
    result: Tensor = half + half * np.tanh(half)
    return result


def _norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - _mean(x)
    variance = _mean(centred * centred)
    normed: Tensor = centred / np.sqrt(variance + np.float32(NORM_EPSILON))
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _mean(x: NDArray[Any]) -> NDArray[Any]:
    # As mean() does, without its general overhead, which is most of its time for one bar.
    mean: NDArray[Any] = np.add.reduce(x, axis=-1, keepdims=True)
    mean /= x.shape[-1]
    return mean


def _unit(x: Tensor) -> Tensor:
    squares: NDArray[Any] = np.add.reduce(x * x, axis=-1, keepdims=True)
    unit: Tensor = x / np.sqrt(squares)
    return unit
