"""RecentBars: the last bars of a symbol as a strategy may see them, with nothing to change them by."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bot.model.bar_frame import bar_frame
from bot.model.features import FeatureWindow, Floats, T
from bot.model.timeframes import TimeframeBars, aggregated, whole_bars

if TYPE_CHECKING:
    import pandas


class RecentBars:
    """The last unbroken bars of one symbol, oldest first, as read-only float64 arrays.

    The arrays are views: they hold until the next bar, so what is kept for longer is copied. They hold
    fewer than ``n`` values where fewer are known.
    """

    __slots__ = ("_timeframes", "_window")

    def __init__(self, window: FeatureWindow) -> None:
        self._window = window
        # Made anew once another bar of them is whole, or the oldest no longer at hand.
        self._timeframes: dict[str, TimeframeBars] = {}

    def __len__(self) -> int:
        return len(self._window)

    @property
    def close_ms(self) -> int:
        """When the newest bar closed, in UTC milliseconds; -1 where no bar is known."""
        return self._window.close_ms() if len(self) else -1

    @property
    def next_start_ms(self) -> int:
        """When the bar after the newest one starts, on the market's clock; -1 where no bar is known."""
        return self._window.next_start_ms

    @property
    def interval_ms(self) -> int:
        """The bars' length; 0 where no bar is known."""
        return self._window.interval_ms

    def as_of(self, time_ms: int) -> "RecentBars":
        """The same without the bars that closed after ``time_ms``."""
        return self._before(time_ms, 0)

    def _before(self, time_ms: int, hidden: int) -> "RecentBars":
        window = self._window
        while hidden < len(window) and window.close_ms(hidden) > time_ms:
            hidden += 1
        return _EarlierBars(window, hidden) if hidden else self

    def close_times(self, n: int) -> NDArray[np.int64]:
        """When the bars closed, in UTC milliseconds; a copy."""
        return self._window.close_times(n).astype(np.int64)

    def frame(self, n: int | None = None) -> "pandas.DataFrame":
        """The last ``n`` bars (None: all) as a DataFrame; see :func:`~bot.model.bar_frame.bar_frame`."""
        return bar_frame(self, n)

    def timeframe(self, interval: str) -> TimeframeBars:
        """The completed bars of a higher interval (``"240"``, ``"D"``) that these bars make up.

        Raises ValueError for an interval that is none, or no multiple of these bars'.
        """
        n = len(self)
        start_ms = self._window.close_ms(len(self._window) - 1) - self.interval_ms if n else 0
        whole = whole_bars(interval, self.interval_ms, start_ms, max(self.close_ms, start_ms))
        known = self._timeframes.get(interval)
        if known is None or known.whole != whole:
            columns = self.opens(n), self.highs(n), self.lows(n), self.closes(n), self.volumes(n)
            known = self._timeframes[interval] = aggregated(whole, self.close_times(n), columns)
        return known

    def opens(self, n: int) -> Floats:
        return self._window.opens(n)

    def highs(self, n: int) -> Floats:
        return self._window.highs(n)

    def lows(self, n: int) -> Floats:
        return self._window.lows(n)

    def closes(self, n: int) -> Floats:
        return self._window.closes(n)

    def volumes(self, n: int) -> Floats:
        return self._window.volumes(n)

    def returns(self, n: int) -> Floats:
        """Log returns of the closes."""
        return self._window.returns(n)

    def squared_returns(self, n: int) -> Floats:
        return self._window.squared_returns(n)

    def scaled_returns(self, n: int) -> Floats:
        """Log returns over the volatility known before each of them, clipped at ±6."""
        return self._window.scaled_returns(n)

    def volatilities(self, n: int) -> Floats:
        """At each close, the expected absolute size (root mean square) of the next bar's log return."""
        return self._window.volatilities(n)

    def volatility(self) -> float | None:
        """The newest of :meth:`volatilities`, None if too few bars are known."""
        newest = self.volatilities(1)
        return float(newest[0]) if len(newest) else None


class _EarlierBars(RecentBars):
    """The same without the ``hidden`` newest bars."""

    __slots__ = ("_hidden",)

    def __init__(self, window: FeatureWindow, hidden: int) -> None:
        super().__init__(window)
        self._hidden = hidden

    def __len__(self) -> int:
        return max(0, super().__len__() - self._hidden)

    @property
    def close_ms(self) -> int:
        return self._window.close_ms(self._hidden) if len(self) else -1

    @property
    def next_start_ms(self) -> int:
        return super().next_start_ms - self._hidden * self.interval_ms if len(self) else -1

    def as_of(self, time_ms: int) -> RecentBars:
        return self._before(time_ms, self._hidden)

    def opens(self, n: int) -> Floats:
        return self._shown(super().opens, n)

    def highs(self, n: int) -> Floats:
        return self._shown(super().highs, n)

    def lows(self, n: int) -> Floats:
        return self._shown(super().lows, n)

    def closes(self, n: int) -> Floats:
        return self._shown(super().closes, n)

    def volumes(self, n: int) -> Floats:
        return self._shown(super().volumes, n)

    def returns(self, n: int) -> Floats:
        return self._shown(super().returns, n)

    def squared_returns(self, n: int) -> Floats:
        return self._shown(super().squared_returns, n)

    def scaled_returns(self, n: int) -> Floats:
        return self._shown(super().scaled_returns, n)

    def volatilities(self, n: int) -> Floats:
        return self._shown(super().volatilities, n)

    def close_times(self, n: int) -> NDArray[np.int64]:
        return self._shown(super().close_times, n)

    def _shown(self, column: Callable[[int], NDArray[T]], n: int) -> NDArray[T]:
        """The last ``n`` values of a column, but for the hidden ones."""
        values = column(n + self._hidden)
        return values[: max(0, len(values) - self._hidden)]
