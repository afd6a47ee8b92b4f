"""Search among the memory's keys and shapes: rounded scores, exact candidates, moments that do not overlap."""

import numpy as np
from numpy.typing import NDArray

from bot.model.kernels.compiled import Tensor, compiled

Codes = NDArray[np.int8]

LINE = 64
"""Codes in a line of the processor's cache. Keys take whole lines: a loop of known length is twice as fast."""

MAX_CODE = 127

BATCH = 2_048
"""Rows that are scored before the lowest score still wanted is worked out again."""

_BINS = 1_024

_i32, _f32 = np.int32, np.float32


@compiled(sums_in_order=False)
def encode_rows(keys: Tensor, codes: Codes, scales: Tensor) -> float:
    """Round float32 keys to eight bits: key ≈ scale · code, with scale = max |key| / 127.

    Keys are (n, d), ``codes`` (n, lines, 64), ``scales`` (n,); the last two are written. Returns the largest
    error of a key, max ‖key - scale · code‖.
    """
    longest = 0.0
    for row in range(len(keys)):
        key = keys[row]
        largest = _f32(0.0)
        for i in range(len(key)):
            largest = max(largest, abs(key[i]))
        scale = largest / _f32(MAX_CODE) if largest > 0.0 else _f32(1.0)
        scales[row] = scale
        error = 0.0
        for i in range(len(key)):
            code = np.rint(key[i] / scale)
            codes[row, i // LINE, i % LINE] = np.int8(code)
            error += (np.float64(key[i]) - np.float64(scale) * np.float64(code)) ** 2
        longest = max(longest, np.sqrt(error))
    return longest


@compiled()
def top_candidates(
    codes: Codes,
    scales: Tensor,
    query: NDArray[np.int16],
    count: int,
    margin: float,
    highest: float,
    places: NDArray[np.int64],
    scores: Tensor,
) -> int:
    """Find all rows with score ≥ (the ``count``-th highest score) - ``margin``, and a few more.

    score = scale · Σ code · query, at most ``highest`` in size; codes are (n, lines, 64), scales (n,), the
    query (lines, 64). Rows go to ``places``, ascending, their scores to ``scores``; both need room for some
    multiple of :data:`BATCH`. Returns the number of rows found, -1 where they do not fit. A histogram of the
    scores so far gives the lowest score that can still be wanted.
    """
    rows, found = len(scales), 0
    histogram = np.zeros(_BINS, np.int64)
    bins_each = _f32(0.5 * (_BINS - 1) / highest)
    floor = _f32(-np.inf)
    for first in range(0, rows + BATCH, BATCH):
        # The lowest bin that still holds one of the best.
        higher, lowest = 0, _BINS
        while higher < count and lowest > 0:
            lowest -= 1
            higher += histogram[lowest]
        # Its edge, and one more bin for what float32 rounds.
        floor = _f32((lowest - 1) / bins_each - _f32(highest) - _f32(margin))
        if first >= rows or found + BATCH > len(places):
            kept = 0
            for i in range(found):
                if scores[i] >= floor:
                    places[kept], scores[kept] = places[i], scores[i]
                    kept += 1
            found = kept
            if first >= rows or found + BATCH > len(places):
                break
        for row in range(first, min(first + BATCH, rows)):
            total = _i32(0)
            for line in range(codes.shape[1]):
                for i in range(LINE):
                    # Numba widens a sum of whole numbers unless it is cast back.
                    total = _i32(total + _i32(codes[row, line, i]) * _i32(query[line, i]))
            score = _f32(total) * scales[row]
            if score >= floor:
                places[found], scores[found] = row, score
                found += 1
                histogram[_i32((score + _f32(highest)) * bins_each)] += 1
    return found if first >= rows else -1


@compiled(sums_in_order=False)
def max_cosine(shapes: Tensor, views: Tensor) -> Tensor:
    """max over views of shape · view, for each shape: (n, bars) and (k, bars) to (n,), at least -1.

    A cosine, since shapes and views are unit vectors.
    """
    best = np.empty(len(shapes), np.float32)
    for place in range(len(shapes)):
        shape = shapes[place]
        highest = _f32(-1.0)
        for view in range(len(views)):
            cosine = _f32(0.0)
            for i in range(len(shape)):
                cosine += shape[i] * views[view, i]
            highest = max(highest, cosine)
        best[place] = highest
    return best


@compiled()
def suppress_overlaps(times: NDArray[np.int64], zone: int, wanted: int) -> NDArray[np.int64]:
    """Places of the first ``wanted`` times (n,) with |time - t| ≥ ``zone`` for every time t chosen before."""
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
