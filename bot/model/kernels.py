"""The inner loops that a bar waits for, compiled by Numba at their first use and kept on disk from then on.

One thread, and every sum in one order: the same input gives the same bits on one machine, alone or among
many. To import this is to wait for Numba, so whoever needs it imports it where a model is built.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])

Floats = NDArray[np.float64]
Tensor = NDArray[np.float32]
Codes = NDArray[np.int8]

LINE = 64
"""Codes in a line of the cache. Keys take whole lines: a loop whose length is known is twice as fast."""

LARGEST_CODE = 127

STRETCH = 2_048
"""Rows that are scored before it is asked again which may be left out."""

_BINS = 1_024

_ROWS = 8

_i32, _f32 = np.int32, np.float32
_NORM_EPSILON = _f32(1e-5)


def _compiled(*, sums_in_order: bool = True) -> Callable[[F], F]:
    """Products and sums are fused; only where it is allowed is a sum taken in several parts at once."""
    fastmath = {"contract"} if sums_in_order else {"contract", "reassoc"}

    def compile_later(function: F) -> F:
        options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy"}
        try:
            return cast(F, numba.njit(cache=True, **options)(function))
        except RuntimeError:
            # Nowhere on this disk may it be kept: each process compiles it anew.
            return cast(F, numba.njit(**options)(function))

    return compile_later


@_compiled(sums_in_order=False)
def encode_rows(keys: Tensor, codes: Codes, scales: Tensor) -> float:
    """Round keys (n, d) to ``codes`` (n, lines, 64) times ``scales`` (n,); the length of the largest error."""
    longest = 0.0
    for row in range(len(keys)):
        key = keys[row]
        largest = _f32(0.0)
        for i in range(len(key)):
            largest = max(largest, abs(key[i]))
        scale = largest / _f32(LARGEST_CODE) if largest > 0.0 else _f32(1.0)
        scales[row] = scale
        error = 0.0
        for i in range(len(key)):
            code = np.rint(key[i] / scale)
            codes[row, i // LINE, i % LINE] = np.int8(code)
            error += (np.float64(key[i]) - np.float64(scale) * np.float64(code)) ** 2
        longest = max(longest, np.sqrt(error))
    return longest


@_compiled()
def near_best(
    codes: Codes,
    scales: Tensor,
    query: NDArray[np.int16],
    count: int,
    margin: float,
    highest: float,
    places: NDArray[np.int64],
    scores: Tensor,
) -> int:
    """Find the rows whose score is at most ``margin`` below the ``count``-th highest, and a few more.

    A score is the inner product of a row of codes (n, lines, 64), times its scale (n,), with the query
    (lines, 64), and at most ``highest``. Rows go to ``places``, ascending, their scores to ``scores``; these
    have room for some multiple of :data:`STRETCH`. Returns how many there are, -1 where they do not fit.
    """
    rows, found = len(scales), 0
    tally = np.zeros(_BINS, np.int64)
    bins_each = _f32(0.5 * (_BINS - 1) / highest)
    floor = _f32(-np.inf)
    for first in range(0, rows + STRETCH, STRETCH):
        # By how many score how high so far: what can no longer be among the best?
        higher, lowest = 0, _BINS
        while higher < count and lowest > 0:
            lowest -= 1
            higher += tally[lowest]
        # Its edge, and one more bin for what float32 rounds.
        floor = _f32((lowest - 1) / bins_each - _f32(highest) - _f32(margin))
        if first >= rows or found + STRETCH > len(places):
            kept = 0
            for i in range(found):
                if scores[i] >= floor:
                    places[kept], scores[kept] = places[i], scores[i]
                    kept += 1
            found = kept
            if first >= rows or found + STRETCH > len(places):
                break
        for row in range(first, min(first + STRETCH, rows)):
            total = _i32(0)
            for line in range(codes.shape[1]):
                for i in range(LINE):
                    # Numba widens a sum of whole numbers unless it is told not to.
                    total = _i32(total + _i32(codes[row, line, i]) * _i32(query[line, i]))
            score = _f32(total) * scales[row]
            if score >= floor:
                places[found], scores[found] = row, score
                found += 1
                tally[_i32((score + _f32(highest)) * bins_each)] += 1
    return found if first >= rows else -1


@_compiled(sums_in_order=False)
def window_keys(x: Tensor, weights: Tensor, width: int, blocks: int, keys: Tensor) -> None:
    """A window network's rows (n, bars) to ``keys`` (n, dimension) of unit length.

    ``weights`` stand one after the other as they are used: of a layer its bias, then its matrix (in, out), and
    of a norm its factors, then what it adds. Few rows at a time go through all of it: they stay in the cache.
    """
    for first in range(0, len(x), _ROWS):
        rows, told = x[first : first + _ROWS], keys[first : first + _ROWS]
        h = np.empty((len(rows), width), np.float32)
        normed, change, skipped = np.empty_like(h), np.empty_like(h), np.empty_like(told)
        used = _affine(rows, weights, 0, h)
        _silu(h)
        for _ in range(blocks):
            used = _norm(h, weights, used, normed)
            used = _affine(normed, weights, used, change)
            _silu(change)
            _add(h, change)
        used = _affine(h, weights, used, told)
        _affine(rows, weights, used, skipped)
        _add(told, skipped)
        _unit(told)


@_compiled(sums_in_order=False)
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
    """Tokens of a streaming transformer in a row: the last returns of each (n, patch) to ``keys`` (n, dimension).

    The tokens' own keys and values go before ``end`` into ``seen`` and ``values``, (layers, width, room) each;
    those before them, as many as the first one looks back at, are there already. ``turns``
    (2, planes, attention_bars) are cosine and sine of what a distance turns the query by, the farthest first.
    ``weights`` as in :func:`window_keys`, a layer's query, key and value as one.
    """
    tokens = len(patches)
    layers, width = seen.shape[:2]
    planes, reach = turns.shape[1:]
    h = np.empty((tokens, width), np.float32)
    normed, attended, change = np.empty_like(h), np.empty_like(h), np.empty_like(h)
    asked = np.empty((tokens, 3 * width), np.float32)
    raised = np.empty((tokens, inner), np.float32)
    scores = np.empty(reach, np.float32)
    used = _affine(patches, weights, 0, h)
    for layer in range(layers):
        used = _norm(h, weights, used, normed)
        used = _affine(normed, weights, used, asked)
        for token in range(tokens):
            for i in range(width):
                seen[layer, i, end - tokens + token] = asked[token, width + i]
                values[layer, i, end - tokens + token] = asked[token, 2 * width + i]
        for token in range(tokens):
            last = end - tokens + token + 1
            first = last - reach
            for head in range(heads):
                begin = 2 * planes * head
                scores[:] = _f32(0.0)
                for plane in range(planes):
                    i, j = begin + plane, begin + planes + plane
                    _score(
                        asked[token, i] / np.sqrt(_f32(2 * planes)),
                        asked[token, j] / np.sqrt(_f32(2 * planes)),
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


@_compiled()
def hidden_layers(x: Tensor, weights: Tensor, width: int, out: Tensor) -> None:
    """Rows (n, in) through two hidden layers of ``width`` to ``out`` (n, out); weights as in :func:`window_keys`."""
    for first in range(0, len(x), _ROWS):
        rows = x[first : first + _ROWS]
        h = np.empty((len(rows), width), np.float32)
        more = np.empty_like(h)
        used = _affine(rows, weights, 0, h)
        _silu(h)
        used = _affine(h, weights, used, more)
        _silu(more)
        _affine(more, weights, used, out[first : first + _ROWS])


@_compiled(sums_in_order=False)
def squared_distances(states: Tensor, query: Tensor) -> Tensor:
    """Of states (n, d) from a query (d,): (n,)."""
    distances = np.empty(len(states), np.float32)
    for row in range(len(states)):
        total = _f32(0.0)
        for i in range(len(query)):
            total += (states[row, i] - query[i]) * (states[row, i] - query[i])
        distances[row] = total
    return distances


@_compiled()
def running_weights(distances: Tensor, farthest: np.float32, temperature: np.float32) -> tuple[Floats, float]:
    """Running sums (n,) of the weights that distances (n,) give, and the sum of their squares.

    A weight is e to the minus ``temperature`` times what a distance is more than the smallest, and nothing
    beyond the ``farthest``.
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


@_compiled(sums_in_order=False)
def best_likeness(shapes: Tensor, views: Tensor) -> Tensor:
    """The highest inner product of each shape (n, bars) with one of the views (k, bars): (n,)."""
    best = np.empty(len(shapes), np.float32)
    for place in range(len(shapes)):
        shape = shapes[place]
        highest = _f32(-1.0)
        for view in range(len(views)):
            alike = _f32(0.0)
            for i in range(len(shape)):
                alike += shape[i] * views[view, i]
            highest = max(highest, alike)
        best[place] = highest
    return best


@_compiled()
def first_apart(times: NDArray[np.int64], zone: int, wanted: int) -> NDArray[np.int64]:
    """Places of the first ``wanted`` times (n,) that keep a zone's distance from all chosen before them."""
    chosen = np.empty(min(wanted, len(times)), np.int64)
    count = 0
    for place in range(len(times)):
        if count == len(chosen):
            break
        free = True
        for i in range(count):
            if abs(times[place] - times[chosen[i]]) < zone:
                free = False
                break
        if free:
            chosen[count] = place
            count += 1
    return chosen[:count]


@_compiled(sums_in_order=False)
def fading_sizes(squares: Floats, fading: Floats, least: float, sizes: Floats) -> None:
    """The root mean square (n,) of each window of a run (n + bars - 1,), weighted by ``fading`` (bars,)."""
    for first in range(len(sizes)):
        total = 0.0
        for i in range(len(fading)):
            total += squares[first + i] * fading[i]
        sizes[first] = max(math.sqrt(total), least)


@_compiled(sums_in_order=False)
def recent_sums(
    squares: Floats, returns: Floats, volumes: Floats, fading: Floats, largest: float
) -> tuple[float, float, float, float]:
    """Of as many last bars as there are weights in ``fading`` (3, bars): four figures of a feature row.

    Squares by the first weights, returns by the second and by the third, and how many standard deviations the
    logarithm of the newest volume, at most ``largest``, is from the mean of all.
    """
    short = fast = slow = 0.0
    for i in range(fading.shape[1]):
        short += squares[i] * fading[0, i]
        fast += returns[i] * fading[1, i]
        slow += returns[i] * fading[2, i]
    logs = np.empty_like(volumes)
    mean = variance = 0.0
    for i in range(len(volumes)):
        logs[i] = math.log1p(min(volumes[i], largest))
        mean += logs[i]
    mean /= len(logs)
    for i in range(len(logs)):
        variance += (logs[i] - mean) * (logs[i] - mean)
    spread = math.sqrt(variance / len(logs))
    return short, fast, slow, (logs[-1] - mean) / spread if spread > 1e-9 else 0.0


@_compiled(sums_in_order=False)
def trends_and_moods(
    returns: Floats, bars: int, trend_bars: int, mood_bars: int, means: Floats, errors: Floats, calmer: Floats
) -> None:
    """What regimes are told by, for each window of so many ``bars`` in a run of returns.

    The mean of its last ``trend_bars`` returns, that mean's standard error, and of all means of ``mood_bars``
    absolute returns in the window the share that is below the last.
    """
    moves = np.empty(bars - mood_bars + 1)
    for row in range(len(means)):
        end = row + bars
        mean = squares = 0.0
        for i in range(end - trend_bars, end):
            mean += returns[i]
        mean /= trend_bars
        for i in range(end - trend_bars, end):
            squares += (returns[i] - mean) * (returns[i] - mean)
        for move in range(len(moves)):
            moves[move] = 0.0
        for i in range(mood_bars):
            for move in range(len(moves)):
                moves[move] += abs(returns[row + move + i])
        below = 0
        for move in range(len(moves)):
            below += moves[move] < moves[-1]
        means[row], errors[row] = mean, math.sqrt(squares) / trend_bars
        calmer[row] = below / len(moves)


@_compiled(sums_in_order=False)
def logistic_pull(
    columns: Floats, offsets: Floats, rose: Floats, coefficients: Floats
) -> tuple[Floats, Floats]:
    """Gradient (k,) and information (k, k) of a logistic regression on ``columns`` (k, n), without a prior."""
    count = len(columns)
    pull, information = np.zeros(count), np.zeros((count, count))
    for vote in range(len(rose)):
        odds = offsets[vote]
        for i in range(count):
            odds += coefficients[i] * columns[i, vote]
        expected = 1.0 / (1.0 + math.exp(-odds))
        for i in range(count):
            pull[i] += columns[i, vote] * (rose[vote] - expected)
            for j in range(count):
                information[i, j] += columns[i, vote] * columns[j, vote] * expected * (1.0 - expected)
    return pull, information


@_compiled()
def _affine(x: Tensor, weights: Tensor, at: int, out: Tensor) -> int:
    """Rows (n, in) to ``out`` (n, out); what follows the layer's weights.

    Each sum is taken in the order of its inputs, so that a row rounds alike alone and among many.
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


@_compiled(sums_in_order=False)
def _norm(x: Tensor, weights: Tensor, at: int, out: Tensor) -> int:
    """The layer norm of rows (n, width) into ``out``; what follows its weights."""
    width = x.shape[1]
    end: int = at + 2 * width
    factors, added = weights[at : at + width], weights[at + width : end]
    for row in range(len(x)):
        total = _f32(0.0)
        for i in range(width):
            total += x[row, i]
        mean = total / _f32(width)
        squares = _f32(0.0)
        for i in range(width):
            squares += (x[row, i] - mean) * (x[row, i] - mean)
        spread = np.sqrt(squares / _f32(width) + _NORM_EPSILON)
        for i in range(width):
            out[row, i] = (x[row, i] - mean) / spread * factors[i] + added[i]
    return end


@_compiled()
def _score(
    query: np.float32,
    other: np.float32,
    cos: Tensor,
    sin: Tensor,
    key: Tensor,
    beside: Tensor,
    scores: Tensor,
) -> None:
    """Add one plane's part of the products of a query, turned by each distance, with the keys that far away."""
    for age in range(len(scores)):
        turned = query * cos[age] - other * sin[age]
        beyond = other * cos[age] + query * sin[age]
        scores[age] += turned * key[age] + beyond * beside[age]


@_compiled(sums_in_order=False)
def _dot(x: Tensor, y: Tensor) -> np.float32:
    total = _f32(0.0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@_compiled(sums_in_order=False)
def _softmax(scores: Tensor) -> None:
    """Scores become shares that sum to 1."""
    highest = _f32(-np.inf)
    for score in scores:
        highest = max(highest, score)
    total = _f32(0.0)
    for i in range(len(scores)):
        scores[i] = _exp(scores[i] - highest)
        total += scores[i]
    for i in range(len(scores)):
        scores[i] /= total


@_compiled()
def _silu(x: Tensor) -> None:
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] = x[row, i] / (_f32(1.0) + _exp(-x[row, i]))


@_compiled()
def _add(x: Tensor, change: Tensor) -> None:
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] += change[row, i]


@_compiled(sums_in_order=False)
def _unit(x: Tensor) -> None:
    for row in range(len(x)):
        squares = _f32(0.0)
        for i in range(x.shape[1]):
            squares += x[row, i] * x[row, i]
        length = np.sqrt(squares)
        for i in range(x.shape[1]):
            x[row, i] /= length


@_compiled()
def _exp(x: np.float32) -> np.float32:
    """e to the x within 2e-7 of it, and without a call: so are many worked out at once.

    A power of two, put together from its bits, times a polynomial (Cephes' expf) of what remains.
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
