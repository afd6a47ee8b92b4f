"""Moments in ascending order of outcome: what quantile forecasts are read from."""

from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.model.features import Floats
from bot.model.network.parameters import Tensor
from bot.model.odds import State

# 2^32 over the golden ratio: its multiples are spread evenly, and in no fixed relation to hours, weekdays or funding.
_GOLDEN = 2_654_435_769
_CIRCLE = 2**32
_FEW = 16


class _Moment(NamedTuple):
    """Sorted by outcome, then time, then symbol: no two are equal."""

    outcome: float
    start_ms: int
    symbol: str


def keeps_state(bar: int, size: int, wanted: int) -> bool:
    """Whether the ``bar``-th bar since 1970 is among the ``wanted`` of ``size`` whose state is kept.

    By the calendar, so that every session keeps the same ones, wherever it starts.
    """
    return bar * _GOLDEN % _CIRCLE * size < wanted * _CIRCLE


class SortedMoments(NamedTuple):
    """States (n, dimension) and outcomes (n,) in ascending order."""

    states: Tensor
    outcomes: Floats


class SortedOutcomes:
    """States (n, dimension) and outcomes (n,) of at most ``size`` moments, in ascending order of outcome.

    In that order quantiles need no sorting, and the same moments give the same bits in whatever order they were
    added. Equal outcomes are in order of time, then symbol. Moments added and removed are merged at the next
    :meth:`known`, so that a warm-up sorts once.
    """

    def __init__(self, dimension: int, size: int) -> None:
        self._states: Tensor = np.zeros((size, dimension), dtype=np.float32)
        self._outcomes: Floats = np.zeros(size)
        self._recallable_ms = np.zeros(size, dtype=np.int64)
        self._columns: tuple[NDArray[Any], ...] = (
            self._states,
            self._outcomes,
            self._recallable_ms,
        )
        self._moments: list[_Moment] = []
        self._added: dict[_Moment, tuple[State, int]] = {}
        self._removed: set[_Moment] = set()

    def __len__(self) -> int:
        return len(self._moments) + len(self._added) - len(self._removed)

    def add(self, symbol: str, start_ms: int, outcome: float, state: State, recallable_ms: int) -> None:
        """Add a moment that may be recalled from ``recallable_ms`` on."""
        self._added[_Moment(outcome, start_ms, symbol)] = (state, recallable_ms)

    def remove(self, symbol: str, start_ms: int, outcome: float) -> None:
        """Remove a moment that was added."""
        moment = _Moment(outcome, start_ms, symbol)
        if self._added.pop(moment, None) is None:
            self._removed.add(moment)

    def known(self, now_ms: int) -> "SortedMoments":
        """The moments that may be recalled at ``now_ms``; the arrays are valid until the next change."""
        self._merge()
        columns = [column[: len(self._moments)] for column in self._columns]
        recallable = columns[-1] <= now_ms
        if not recallable.all():
            columns = [column[recallable] for column in columns]
        return SortedMoments(*columns[:-1])

    def _merge(self) -> None:
        if len(self._added) + len(self._removed) > _FEW:
            self._sort()
        for moment in self._removed:
            i, end = bisect_left(self._moments, moment), len(self._moments)
            del self._moments[i]
            for column in self._columns:
                column[i : end - 1] = column[i + 1 : end]
        for moment, (state, recallable_ms) in self._added.items():
            i, end = bisect_left(self._moments, moment), len(self._moments)
            self._moments.insert(i, moment)
            for column in self._columns:
                column[i + 1 : end + 1] = column[i:end]
            row = (state, moment.outcome, recallable_ms)
            for column, value in zip(self._columns, row, strict=True):
                column[i] = value
        self._added.clear()
        self._removed.clear()

    def _sort(self) -> None:
        """Merge what was added and removed in one sort: much faster than one by one where it is many."""
        rows = {
            moment: (self._states[i], int(self._recallable_ms[i]))
            for i, moment in enumerate(self._moments)
            if moment not in self._removed
        } | self._added
        self._moments = sorted(rows)
        count = len(rows)
        if count:
            # A copy first: the rows that stay are views of what is written to.
            self._states[:count] = np.array([rows[moment][0] for moment in self._moments])
        self._outcomes[:count] = [moment.outcome for moment in self._moments]
        self._recallable_ms[:count] = [rows[moment][1] for moment in self._moments]
        self._added.clear()
        self._removed.clear()
