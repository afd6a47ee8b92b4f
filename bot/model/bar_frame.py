"""Bars of a strategy's situation as a pandas DataFrame."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.model.features import Floats

if TYPE_CHECKING:
    import pandas


class BarColumns(Protocol):
    """Bars by column, the last ``n`` of each."""

    @property
    def interval_ms(self) -> int: ...
    def __len__(self) -> int: ...
    def close_times(self, n: int) -> NDArray[np.int64]: ...
    def opens(self, n: int) -> Floats: ...
    def highs(self, n: int) -> Floats: ...
    def lows(self, n: int) -> Floats: ...
    def closes(self, n: int) -> Floats: ...
    def volumes(self, n: int) -> Floats: ...


def bar_frame(bars: BarColumns, n: int | None) -> "pandas.DataFrame":
    """The last ``n`` bars (None: all), oldest first; a copy, which holds as long as it is wanted.

    Index ``start``: when each bar opened, ``datetime64[ms, UTC]``. Columns ``open``, ``high``, ``low``,
    ``close`` and ``volume``: float64, prices in quote currency, volume in base coin.
    """
    import pandas

    count = len(bars) if n is None else n
    starts = bars.close_times(count) - bars.interval_ms
    index = pandas.DatetimeIndex(starts.astype("datetime64[ms]"), tz="UTC", name="start")
    columns = {
        "open": bars.opens(count),
        "high": bars.highs(count),
        "low": bars.lows(count),
        "close": bars.closes(count),
        "volume": bars.volumes(count),
    }
    return pandas.DataFrame({name: values.copy() for name, values in columns.items()}, index=index)
