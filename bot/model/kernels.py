"""The inner loops that a bar waits for, compiled by Numba at their first use and kept on disk from then on.

One thread, and every sum in one order: the same input gives the same bits on one machine, alone or among
many. To import this is to wait for Numba, so whoever needs it imports it where a model is built.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])

Tensor = NDArray[np.float32]
Codes = NDArray[np.int8]

LINE = 64
"""Codes in a line of the cache. Keys take whole lines: a loop whose length is known is twice as fast."""

LARGEST_CODE = 127

STRETCH = 2_048
"""Rows that are scored before it is asked again which may be left out."""

_BINS = 1_024

_i32, _f32 = np.int32, np.float32


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
