"""Completed bars of a higher interval, aggregated from unbroken bars of a lower one."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.market.times import INTERVAL_MS, grid_start_ms, interval_from_name
from bot.model.bar_frame import bar_frame
from bot.model.features import WINDOW_BARS, Floats, T

if TYPE_CHECKING:
    import pandas

Times = NDArray[np.int64]

_NOTHING: Floats = np.frombuffer(b"", np.float64)


class TimeframeBars:
    """The completed bars of one interval, oldest first, as read-only float64 arrays; never an open one.

    They are aligned to UTC as Bybit aligns its own: days begin at midnight, weeks on Monday. A bar that is not
    wholly covered by the bars at hand is left out, so behind a gap the first one is the first that is complete.
    Unlike those of :class:`~bot.model.recent.RecentBars`, the arrays do not change with the next bar.
    """

    __slots__ = ("_columns", "_ends", "interval", "whole")

    def __init__(self, whole: "WholeBars", ends: Times, columns: tuple[Floats, ...]) -> None:
        self.whole = whole
        self.interval = whole.interval
        self._ends = _frozen(ends)
        self._columns = tuple(map(_frozen, columns)) or (_NOTHING,) * 5

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def interval_ms(self) -> int:
        """The bars' length."""
        return INTERVAL_MS[self.interval]

    @property
    def close_ms(self) -> int:
        """When the newest bar closed, in UTC milliseconds; -1 where none is complete."""
        return int(self._ends[-1]) if len(self._ends) else -1

    def close_times(self, n: int) -> Times:
        """When the bars closed, in UTC milliseconds."""
        return self._ends[max(0, len(self) - n) :]

    def frame(self, n: int | None = None) -> "pandas.DataFrame":
        """The last ``n`` bars (None: all) as a DataFrame; see :func:`~bot.model.bar_frame.bar_frame`."""
        return bar_frame(self, n)

    def opens(self, n: int) -> Floats:
        return self._last(0, n)

    def highs(self, n: int) -> Floats:
        return self._last(1, n)

    def lows(self, n: int) -> Floats:
        return self._last(2, n)

    def closes(self, n: int) -> Floats:
        return self._last(3, n)

    def volumes(self, n: int) -> Floats:
        return self._last(4, n)

    def returns(self, n: int) -> Floats:
        """Log returns of the closes."""
        return _frozen(np.diff(np.log(self.closes(n + 1))))

    def _last(self, column: int, n: int) -> Floats:
        return self._columns[column][max(0, len(self) - n) :]


class WholeBars(NamedTuple):
    """Which bars of a higher interval lie wholly within a run of lower ones, counted on Bybit's grid."""

    interval: str
    first: int
    end: int

    @property
    def offset_ms(self) -> int:
        return grid_start_ms(0, self.interval)


def whole_bars(interval: str, lower_ms: int, start_ms: int, close_ms: int) -> WholeBars:
    """The bars of ``interval`` that unbroken ones of ``lower_ms``, between these times, make up (0: there are none).

    Raises ValueError for an interval that they cannot make up.
    """
    name = interval_from_name(interval)
    if name is None:
        raise ValueError(
            f"timeframe({interval!r}): no such interval; there are {', '.join(INTERVAL_MS)} (as Bybit writes them)"
        )
    length = INTERVAL_MS[name]
    if lower_ms and length % lower_ms:
        raise ValueError(
            f"timeframe({interval!r}): bars of {lower_ms // 60_000} minutes do not make up one of "
            f"{length // 60_000}; ask for a multiple of run.interval"
        )
    if lower_ms and length // lower_ms > WINDOW_BARS:
        raise ValueError(
            f"timeframe({interval!r}): such a bar is {length // lower_ms} bars of this run, and only the last "
            f"{WINDOW_BARS} are at hand; ask for a shorter one"
        )
    offset = grid_start_ms(0, name)
    first, end = -((offset - start_ms) // length), (close_ms - offset) // length
    return WholeBars(name, first, max(first, end))


def aggregated(whole: WholeBars, closed: Times, columns: tuple[Floats, ...]) -> TimeframeBars:
    """These bars, of lower ones that closed at ``closed``; ``columns`` are opens, highs, lows, closes and volumes."""
    length, offset = INTERVAL_MS[whole.interval], whole.offset_ms
    begin, end = np.searchsorted(closed, [offset + at * length for at in (whole.first, whole.end)], "right")
    closed = closed[begin:end]
    if not len(closed):
        return TimeframeBars(whole, closed, columns[:0])
    # Where the market closes, one may have fewer lower bars than others.
    groups = (closed - 1 - offset) // length
    firsts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    lasts = np.append(firsts[1:], len(closed)) - 1
    opens, highs, lows, closes, volumes = (column[begin:end] for column in columns)
    return TimeframeBars(
        whole,
        (groups[firsts] + 1) * length + offset,
        (
            opens[firsts],
            np.maximum.reduceat(highs, firsts),
            np.minimum.reduceat(lows, firsts),
            closes[lasts],
            np.add.reduceat(volumes, firsts),
        ),
    )


def _frozen(values: NDArray[T]) -> NDArray[T]:
    """The same over bytes: nobody can write to it, nor set a flag to."""
    return np.frombuffer(values.tobytes(), values.dtype)
