"""Layers of the networks: affine maps, norms, attention, and the exponential that they share."""

import numpy as np

from bot.model.kernels.compiled import Floats, Tensor, compiled

_ROWS = 8

_i32, _f32 = np.int32, np.float32
_NORM_EPSILON = _f32(1e-5)


@compiled(sums_in_order=False)
def window_keys(x: Tensor, weights: Tensor, width: int, blocks: int, keys: Tensor) -> None:
    """Keys of a window network: rows x (n, bars) to ``keys`` (n, dimension).

    h = silu(W_in x + b); in each of ``blocks`` blocks h += silu(W norm(h) + b); key = u / ‖u‖ with
    u = W_out h + b + W_skip x. ``weights`` is flat, in order of use: of a layer its bias, then its matrix
    (in, out); of a norm its gains, then its biases. A few rows at a time pass through all layers, so that they
    stay in the processor's cache.
    """
    for first in range(0, len(x), _ROWS):
        rows, out = x[first : first + _ROWS], keys[first : first + _ROWS]
        h = np.empty((len(rows), width), np.float32)
        normed, change, skipped = np.empty_like(h), np.empty_like(h), np.empty_like(out)
        used = _affine(rows, weights, 0, h)
        _silu(h)
        for _ in range(blocks):
            used = _norm(h, weights, used, normed)
            used = _affine(normed, weights, used, change)
            _silu(change)
            _add(h, change)
        used = _affine(h, weights, used, out)
        _affine(rows, weights, used, skipped)
        _add(out, skipped)
        _unit(out)


@compiled(sums_in_order=False)
def transformer_keys(
    patches: Tensor,
    weights: Tensor,
    inner: int,
    turns: Tensor,
    heads: int,
    seen: Tensor,
    values: Tensor,
    end: int,
    keys: Tensor,
) -> None:
    """Keys of consecutive tokens of a streaming transformer: ``patches`` (n, patch) to ``keys`` (n, dimension).

    h = W_in x + b; in each layer h += W_a attention(norm(h)), then h += W_down silu(W_up norm(h) + b) + b;
    key = u / ‖u‖ with u = W_out norm(h) + b. Attention of a token in one head: softmax over the last
    ``attention_bars`` tokens of q·k / √d, times their v, with q rotated by the distance (rotary positions).

    The tokens' own k and v are written to ``seen`` and ``values``, (layers, width, room) each, and end at column
    ``end``; those of the ``attention_bars`` - 1 tokens before them are there already. ``turns`` (2, planes,
    attention_bars) are cosine and sine of the rotation by each distance, the farthest first. ``weights`` is flat
    as in :func:`window_keys`, query, key and value of a layer as one matrix.
    """
    tokens = len(patches)
    layers, width = seen.shape[:2]
    planes, reach = turns.shape[1:]
    h = np.empty((tokens, width), np.float32)
    normed, attended, change = np.empty_like(h), np.empty_like(h), np.empty_like(h)
    projected = np.empty((tokens, 3 * width), np.float32)
    raised = np.empty((tokens, inner), np.float32)
    scores = np.empty(reach, np.float32)
    used = _affine(patches, weights, 0, h)
    for layer in range(layers):
        used = _norm(h, weights, used, normed)
        used = _affine(normed, weights, used, projected)
        for token in range(tokens):
            for i in range(width):
                seen[layer, i, end - tokens + token] = projected[token, width + i]
                values[layer, i, end - tokens + token] = projected[token, 2 * width + i]
        for token in range(tokens):
            last = end - tokens + token + 1
            first = last - reach
            for head in range(heads):
                begin = 2 * planes * head
                scores[:] = _f32(0.0)
                for plane in range(planes):
                    i, j = begin + plane, begin + planes + plane
                    _score(
                        projected[token, i] / np.sqrt(_f32(2 * planes)),
                        projected[token, j] / np.sqrt(_f32(2 * planes)),
                        turns[0, plane],
                        turns[1, plane],
                        seen[layer, i, first:last],
                        seen[layer, j, first:last],
                        scores,
                    )
                _softmax(scores)
                for i in range(begin, begin + 2 * planes):
                    attended[token, i] = _dot(scores, values[layer, i, first:last])
        used = _affine(attended, weights, used, change)
        _add(h, change)
        used = _norm(h, weights, used, normed)
        used = _affine(normed, weights, used, raised)
        _silu(raised)
        used = _affine(raised, weights, used, change)
        _add(h, change)
    used = _norm(h, weights, used, normed)
    _affine(normed, weights, used, keys)
    _unit(keys)


@compiled()
def hidden_layers(x: Tensor, weights: Tensor, width: int, out: Tensor) -> None:
    """W₃ silu(W₂ silu(W₁ x + b₁) + b₂) + b₃: rows x (n, in) to ``out`` (n, out), hidden layers of ``width``.

    ``weights`` is flat as in :func:`window_keys`.
    """
    for first in range(0, len(x), _ROWS):
        rows = x[first : first + _ROWS]
        h = np.empty((len(rows), width), np.float32)
        more = np.empty_like(h)
        used = _affine(rows, weights, 0, h)
        _silu(h)
        used = _affine(h, weights, used, more)
        _silu(more)
        _affine(more, weights, used, out[first : first + _ROWS])


@compiled(sums_in_order=False)
def squared_distances(states: Tensor, query: Tensor) -> Tensor:
    """‖state - query‖² of each state: (n, d) and (d,) to (n,)."""
    distances = np.empty(len(states), np.float32)
    for row in range(len(states)):
        total = _f32(0.0)
        for i in range(len(query)):
            total += (states[row, i] - query[i]) * (states[row, i] - query[i])
        distances[row] = total
    return distances


@compiled()
def running_weights(distances: Tensor, farthest: np.float32, temperature: np.float32) -> tuple[Floats, float]:
    """Cumulative sums (n,) of the attention weights of squared distances (n,), and Σ w².

    w = exp(-``temperature`` · (distance - smallest distance)), and 0 where distance > ``farthest``.
    """
    nearest = _f32(np.inf)
    for distance in distances:
        nearest = min(nearest, distance)
    weights = np.empty_like(distances)
    for i in range(len(distances)):
        weight = _exp(-temperature * (distances[i] - nearest))
        weights[i] = weight if distances[i] <= farthest else _f32(0.0)
    totals = np.empty(len(weights), np.float64)
    total = squares = 0.0
    for i in range(len(weights)):
        wide = float(weights[i])
        total += wide
        squares += wide * wide
        totals[i] = total
    return totals, squares


@compiled()
def _affine(x: Tensor, weights: Tensor, at: int, out: Tensor) -> int:
    """``out`` = W x + b of rows x (n, in), with b at ``weights[at:]`` and W (in, out) after it; where they end.

    Each sum is taken in the order of its inputs, so that a row rounds the same alone and in a batch.
    """
    inputs, outputs = x.shape[1], out.shape[1]
    end: int = at + outputs + inputs * outputs
    w = weights[at + outputs : end].reshape(inputs, outputs)
    for row in range(len(x)):
        for o in range(outputs):
            out[row, o] = weights[at + o]
    whole = inputs // 8 * 8
    for i in range(0, whole, 8):
        # Eight at once: their weights stay at hand for all rows, and a sum is fetched once for eight of them.
        w0, w1, w2, w3, w4, w5, w6, w7 = (
            w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4], w[i + 5], w[i + 6], w[i + 7]
        )  # fmt: skip
        for row in range(len(x)):
            x0, x1, x2, x3, x4, x5, x6, x7 = (
                x[row, i], x[row, i + 1], x[row, i + 2], x[row, i + 3],
                x[row, i + 4], x[row, i + 5], x[row, i + 6], x[row, i + 7],
            )  # fmt: skip
            h = out[row]
            for o in range(outputs):
                h[o] = (
                    h[o] + x0 * w0[o] + x1 * w1[o] + x2 * w2[o] + x3 * w3[o]
                    + x4 * w4[o] + x5 * w5[o] + x6 * w6[o] + x7 * w7[o]
                )  # fmt: skip
    for i in range(whole, inputs):
        for row in range(len(x)):
            for o in range(outputs):
                out[row, o] += x[row, i] * w[i, o]
    return end


@compiled(sums_in_order=False)
def _norm(x: Tensor, weights: Tensor, at: int, out: Tensor) -> int:
    """``out`` = (x - mean x) / √(var x + 1e-5) · gain + bias of rows x (n, width); where the weights end.

    Gain and bias are at ``weights[at:]``. Ba, Kiros and Hinton (2016), Layer Normalization.
    """
    width = x.shape[1]
    end: int = at + 2 * width
    gains, biases = weights[at : at + width], weights[at + width : end]
    for row in range(len(x)):
        total = _f32(0.0)
        for i in range(width):
            total += x[row, i]
        mean = total / _f32(width)
        squares = _f32(0.0)
        for i in range(width):
            squares += (x[row, i] - mean) * (x[row, i] - mean)
        std = np.sqrt(squares / _f32(width) + _NORM_EPSILON)
        for i in range(width):
            out[row, i] = (x[row, i] - mean) / std * gains[i] + biases[i]
    return end


@compiled()
def _score(
    query: np.float32,
    other: np.float32,
    cos: Tensor,
    sin: Tensor,
    key: Tensor,
    beside: Tensor,
    scores: Tensor,
) -> None:
    """Add one plane's part of q·k to ``scores``, q rotated by the angle of each distance (cos and sin).

    The plane is (``query``, ``other``) of the query and (``key``, ``beside``) of the keys, one per distance.
    Su et al. (2021), RoFormer.
    """
    for age in range(len(scores)):
        turned = query * cos[age] - other * sin[age]
        beyond = other * cos[age] + query * sin[age]
        scores[age] += turned * key[age] + beyond * beside[age]


@compiled(sums_in_order=False)
def _dot(x: Tensor, y: Tensor) -> np.float32:
    total = _f32(0.0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@compiled(sums_in_order=False)
def _softmax(scores: Tensor) -> None:
    """exp(s) / Σ exp(s), in place."""
    highest = _f32(-np.inf)
    for score in scores:
        highest = max(highest, score)
    total = _f32(0.0)
    for i in range(len(scores)):
        scores[i] = _exp(scores[i] - highest)
        total += scores[i]
    for i in range(len(scores)):
        scores[i] /= total


@compiled()
def _silu(x: Tensor) -> None:
    """x / (1 + exp(-x)), in place."""
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] = x[row, i] / (_f32(1.0) + _exp(-x[row, i]))


@compiled()
def _add(x: Tensor, change: Tensor) -> None:
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] += change[row, i]


@compiled(sums_in_order=False)
def _unit(x: Tensor) -> None:
    """x / ‖x‖ of each row, in place."""
    for row in range(len(x)):
        squares = _f32(0.0)
        for i in range(x.shape[1]):
            squares += x[row, i] * x[row, i]
        length = np.sqrt(squares)
        for i in range(x.shape[1]):
            x[row, i] /= length


@compiled()
def _exp(x: np.float32) -> np.float32:
    """exp(x) with a relative error below 3e-7, for x clipped to -87 .. 88; inline, so that loops vectorize.

    exp(x) = 2ᵏ · exp(x - k ln 2) with k = round(x / ln 2): the power from its bits, the rest by the polynomial of
    Cephes' expf (Moshier).
    """
    x = min(max(x, _f32(-87.0)), _f32(88.0))
    power = np.floor(x * _f32(1.44269504) + _f32(0.5))
    rest = x - power * _f32(0.693359375) + power * _f32(2.12194440e-4)
    series = _f32(1.9875691500e-4)
    series = series * rest + _f32(1.3981999507e-3)
    series = series * rest + _f32(8.3334519073e-3)
    series = series * rest + _f32(4.1665795894e-2)
    series = series * rest + _f32(1.6666665459e-1)
    series = series * rest + _f32(5.0000001201e-1)
    series = series * rest * rest + rest + _f32(1.0)
    scale: np.float32 = _i32((_i32(power) + _i32(127)) << _i32(23)).view(np.float32)
    result: np.float32 = series * scale
    return result
