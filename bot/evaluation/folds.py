"""How a symbol's bars are split: past, embargo and test, in folds; and which rows every method is scored on."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.bot_run import Protocol, RecallTable
from bot.model.feature_table import FeatureTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SCORED = 12_000
_MIN_BLOCK_BARS = 48


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows ``first`` to before ``end`` are forecast by weights fitted to outcomes that matured before ``first``."""

    first: int
    end: int

    def rows(self, queries: Ints) -> Ints:
        """Those of the queried rows that the fold forecasts."""
        return queries[(queries >= self.first) & (queries < self.end)]

    def matured_before(self, horizon_bars: int) -> int:
        """The number of first rows whose outcome had matured when the fold began."""
        return max(0, self.first - horizon_bars)


def folds_of(first: int, end: int, count: int) -> list[Fold]:
    """The rows from ``first`` to before ``end`` in ``count`` nearly equal folds, ascending."""
    edges = np.linspace(first, end, count + 1).astype(int).tolist()
    return [Fold(begin, stop) for begin, stop in pairwise(edges) if stop > begin]


@dataclass(frozen=True, slots=True)
class SymbolData:
    """One symbol's bars: the first test row, the rows that all methods are scored on, and its place among all.

    ``horizon_bars`` is the bot's own. ``offset`` turns rows of ``table`` into rows of all symbols, as in
    recall tables.
    """

    table: FeatureTable
    first: int
    scored: Ints
    offset: int
    folds: list[Fold]
    horizon_bars: int

    @property
    def symbol(self) -> str:
        return self.table.symbol

    @property
    def first_ms(self) -> int:
        """Start of the first test bar."""
        return int(self.table.start_ms[self.first])

    @property
    def test_rows(self) -> Ints:
        """Every row from the first test bar on."""
        return np.arange(self.first, len(self.table))

    def recalled(self, recalls: RecallTable) -> RecallTable:
        """What was recalled at the scored rows."""
        return recalls.at(self.scored + self.offset)

    def placed(self, recalls: RecallTable, forecast: Floats) -> Floats:
        """One forecast a scored row, NaN where nothing was recalled."""
        placed = np.full(len(self.scored), np.nan)
        placed[np.searchsorted(self.scored, recalls.rows - self.offset)] = forecast
        return placed


def split(table: FeatureTable, offset: int, protocol: Protocol, horizon_bars: int) -> SymbolData:
    """The symbol's rows as the protocol splits them."""
    first = len(table) - int(protocol.test_share * len(table))
    every = protocol.every or max(1, (len(table) - first) // _SCORED)
    rows = np.arange(first, len(table), every)
    return SymbolData(
        table=table,
        first=first,
        scored=rows[np.isfinite(table.volatility[rows])],
        offset=offset,
        folds=folds_of(first, len(table), protocol.folds),
        horizon_bars=horizon_bars,
    )


def block_bars(horizon_bars: int) -> int:
    """The length of a bootstrap's blocks: outcomes further apart share no bars."""
    return max(_MIN_BLOCK_BARS, 2 * horizon_bars)
