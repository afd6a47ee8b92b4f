"""What is fitted: contiguous returns for the encoder, moments with their outcomes for the odds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bot.market import ALWAYS_OPEN, INTERVAL_MS, Calendar
from bot.model.feature_table import FeatureTable
from bot.model.features import RECEPTIVE_BARS
from bot.model.training.views import ContiguousReturns, ShapeConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VALIDATION_FRACTION = 0.15
"""Last part of the time, a fraction, that an encoder is validated on."""


@dataclass(frozen=True, slots=True)
class OddsRows:
    """``n`` moments of one or several symbols at one interval, in order of time.

    ``rows`` (n, inputs) were known at each close; ``outcomes`` (n, horizons) are the realized log returns, each
    divided by the volatility expected over its horizon; all are finite. ``start_ms`` (n,) are the bars' starts.
    """

    rows: NDArray[np.float32]
    outcomes: Floats
    start_ms: Ints
    interval_ms: int

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: NDArray[np.bool_] | Ints) -> "OddsRows":
        """These moments only."""
        return OddsRows(self.rows[chosen], self.outcomes[chosen], self.start_ms[chosen], self.interval_ms)


@dataclass(frozen=True, slots=True)
class Material:
    """What is learned from the bars of several symbols, by symbol; all of one interval.

    ``training`` and ``validation`` are returns for the encoder, ``moments`` all that the odds may use. Times are
    those of the calendar's clock.
    """

    interval: str = ""
    calendar: Calendar = ALWAYS_OPEN
    training: Mapping[str, Sequence[ContiguousReturns]] = field(default_factory=dict)
    validation: Mapping[str, Sequence[ContiguousReturns]] = field(default_factory=dict)
    moments: Mapping[str, OddsRows] = field(default_factory=dict)


def merged(parts: Sequence[OddsRows]) -> OddsRows:
    """The moments of several symbols, in order of time; all of one interval, at least one part."""
    start_ms = np.concatenate([part.start_ms for part in parts])
    order = np.argsort(start_ms, kind="stable")
    return OddsRows(
        np.concatenate([part.rows for part in parts])[order],
        np.concatenate([part.outcomes for part in parts])[order],
        start_ms[order],
        parts[0].interval_ms,
    )


def material_before(table: FeatureTable, row: int, horizons: Sequence[int]) -> OddsRows:
    """All moments that may be learned from when bar ``row`` opens: their outcomes at all ``horizons`` are known."""
    end = max(0, row - max(horizons))
    outcomes = np.column_stack([table.outcome(h)[:end] for h in horizons])
    known = np.flatnonzero(table.has_state[:end] & np.isfinite(outcomes).all(axis=1))
    return OddsRows(
        table.states[known],
        outcomes[known],
        table.clock_ms[known],
        INTERVAL_MS[table.interval],
    )


def split_material(
    returns: Mapping[str, Sequence[ContiguousReturns]],
    moments: Mapping[str, OddsRows],
    interval: str,
    calendar: Calendar,
) -> Material:
    """Split the returns of all symbols at one time: the last 15 % validate, the rest trains.

    Bars within a key's reach of the split belong to neither part (embargo); a part may be empty.
    """
    starts = [
        part.start_ms[place] for of_symbol in returns.values() for part in of_symbol for place in (0, -1)
    ]
    first, last = min(starts, default=0), max(starts, default=0)
    train_end_ms = int(last - VALIDATION_FRACTION * (last - first))
    validation_start_ms = train_end_ms + RECEPTIVE_BARS * INTERVAL_MS[interval]
    return Material(
        interval=interval,
        calendar=calendar,
        training=_within(returns, 0, train_end_ms),
        validation=_within(returns, validation_start_ms, int(last) + 1),
        moments=moments,
    )


def _within(
    returns: Mapping[str, Sequence[ContiguousReturns]], since_ms: int, until_ms: int
) -> dict[str, list[ContiguousReturns]]:
    """The parts between two starts, as far as they are long enough to cut a shape from."""
    needed = ShapeConfig().max_bars
    cut = {
        symbol: [inside for part in of_symbol if len(inside := part.within(since_ms, until_ms)) >= needed]
        for symbol, of_symbol in returns.items()
    }
    return {symbol: inside for symbol, inside in cut.items() if inside}
