"""The streaming transformer as plain NumPy, all tokens at once: what its compiled loops are compared with."""

import math

import numpy as np

from bot.model.network.parameters import NORM_EPSILON


def transformer_keys(network, weights, scaled):
    """Keys of all windows in n contiguous scaled returns: float32 (n - bars + 1, dimension)."""
    reach, w = network.attention_bars, weights
    distance = np.arange(reach - 1, -1, -1)
    angle = (distance[:, None] * network.turns() % network.period) * (2.0 * math.pi / network.period)
    # (attention_bars, 1, d / 2), the farthest token first.
    turns = [f(angle).astype(np.float32)[:, None, :] for f in (np.cos, np.sin)]
    patches = np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), network.patch)
    h = linear(patches, w, "in")  # (n, width)
    for i in range(network.layers):
        x = norm(h, w, f"layer{i}.norm")
        rows = linear(x, w, f"layer{i}.key_value")
        h, x = h[reach - 1 :], x[reach - 1 :]  # tokens with a whole past
        query = linear(x, w, f"layer{i}.query")
        # (n, attention_bars, 2 width): what each token may look at, oldest first.
        seen = np.lib.stride_tricks.sliding_window_view(rows, reach, axis=0).swapaxes(1, 2)
        shape = (len(x), reach, network.heads, -1)
        keys, values = (part.reshape(shape) for part in np.split(seen, 2, axis=2))
        mixed = attend(query.reshape(len(x), network.heads, -1), keys, values, *turns)
        h = h + mixed @ w[f"layer{i}.attended.weight"].T
        inner = silu(linear(norm(h, w, f"layer{i}.mlp.norm"), w, f"layer{i}.mlp.up"))
        h = h + linear(inner, w, f"layer{i}.mlp.down")
    out = linear(norm(h, w, "norm"), w, "out")
    return out / np.sqrt((out * out).sum(axis=-1, keepdims=True))


def attend(query, keys, values, cos, sin):
    """(n, heads, d), (n, attention_bars, heads, d) twice, to (n, width)."""
    half = query.shape[-1] // 2
    first, second = query[:, None, :, :half], query[:, None, :, half:]
    # The query is rotated by each distance, the keys stay as they are.
    turned = np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)
    scores = (turned * keys).sum(axis=-1) / np.float32(math.sqrt(2 * half))
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))  # (n, attention_bars, heads)
    attention = scores / scores.sum(axis=1, keepdims=True)
    return (attention[..., None] * values).sum(axis=1).reshape(len(query), -1)


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def norm(x, weights, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt(variance + np.float32(NORM_EPSILON))
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]
