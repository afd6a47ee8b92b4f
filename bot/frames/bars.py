"""Bars as a frame, and a frame's rows as bars."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bot.errors import InputError
from bot.frames.tables import frame_of
from bot.market import INTERVAL_MS, Bar, interval_from_name
from bot.market.bounds import LAST_MS
from bot.market.symbols import symbol_problem
from bot.sources.bar_rows import NAMES
from bot.sources.csv_files import MOST_PROBLEMS, require_sound

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def bars_frame(bars: Iterable[Bar], *, exact: bool = False) -> "DataFrame":
    """Bars as a frame: index ``start``, columns ``open, high, low, close, volume, turnover``."""
    listed = list(bars)
    figures = ("open", "high", "low", "close", "volume", "turnover")
    columns: dict[str, list[Any]] = {"start": [bar.start_ms for bar in listed]}
    columns |= {name: [getattr(bar, name) for bar in listed] for name in figures}
    return frame_of(columns, index=("start",), exact=exact)


def bars_of_frame(frame: "DataFrame", symbol: str | None, interval: str | None) -> list[Bar]:
    """The bars of a frame, ascending, each figure with the fewest digits that give its float again.

    Times are the starts of bars: the index where that has times, else a column ``start_ms``, ``date``, ``timestamp``
    and the like; without a time zone they are UTC. Columns are ``open, high, low, close, volume`` and, where there is
    one, ``turnover``, in any case. ``symbol`` and ``interval`` are the frame's ``attrs`` or, of the interval, the least
    distance of two bars, where None. Raises InputError that names what is wrong, and of bad rows the first.
    """
    symbol = symbol or frame.attrs.get("symbol")
    if symbol is None:
        raise InputError("a DataFrame does not tell its symbol; give symbol='BTCUSDT'")
    if (problem := symbol_problem(symbol)) is not None:
        raise InputError(f"symbol: {problem}")
    named = {str(name).lower().replace(" ", "_"): frame[name] for name in frame.columns}
    starts = times_of(frame)
    interval = _interval(interval or frame.attrs.get("interval"), starts)
    figures = {column: _figures(named, column) for column in NAMES if column != "start_ms"}
    bars: list[Bar] = []
    problems: list[str] = []
    for row, (start_ms, *values) in enumerate(zip(starts, *figures.values(), strict=True)):
        known = dict(zip(figures, values, strict=True))
        bar = Bar(symbol=symbol, interval=interval, start_ms=start_ms, source="import", **known)
        problem = "a figure is no number" if None in values[:-1] else bar.contradiction()
        if problem is None and not 0 <= start_ms <= LAST_MS:
            problem = "its time is none"
        if problem is None and bars and start_ms <= bars[-1].start_ms:
            problem = "its start does not come after the row before it"
        if problem is None:
            bars.append(bar)
            continue
        problems.append(f"row {row}: {problem}")
        if len(problems) >= MOST_PROBLEMS:
            break
    require_sound("the DataFrame", problems, len(bars), "bars")
    return bars


def times_of(frame: "DataFrame") -> list[int]:
    """UTC milliseconds of the frame's rows: of its index, else of a column named like one of times.

    Whole numbers are milliseconds. Raises InputError where there are none.
    """
    import pandas

    times: Any
    if isinstance(frame.index, pandas.DatetimeIndex):
        times = frame.index.to_series()
    else:
        named = {str(name).lower().replace(" ", "_"): frame[name] for name in frame.columns}
        column = next((name for name in (*NAMES["start_ms"], "time_ms") if name in named), None)
        if column is None:
            raise InputError(
                "the DataFrame has no times: give it a DatetimeIndex, or a column such as start_ms, date or timestamp"
            )
        times = named[column]
    try:
        if pandas.api.types.is_numeric_dtype(times):
            return [int(time) for time in times.tolist()]
        moments = pandas.to_datetime(times, utc=True, format="ISO8601").astype("datetime64[ms, UTC]")
        return [int(time) for time in moments.astype("int64").tolist()]
    except (ValueError, TypeError) as error:
        raise InputError(f"the DataFrame's times cannot be read: {error}") from error


def _interval(told: str | None, starts: Sequence[int]) -> str:
    if told is not None:
        if (known := interval_from_name(told)) is None:
            raise InputError(f"unknown interval {told}; one of {', '.join(INTERVAL_MS)}")
        return known
    closest = min((after - before for before, after in pairwise(starts) if after > before), default=0)
    known = next((name for name, ms in INTERVAL_MS.items() if ms == closest), None)
    if known is None:
        raise InputError(
            "the DataFrame's times do not tell the interval of its bars; give interval='60', say"
        )
    return known


def _figures(named: Mapping[str, "Series[Any]"], column: str) -> list[Decimal | None]:
    """A column's exact figures; None for what is no number."""
    name = next((name for name in NAMES[column] if name in named), None)
    if name is not None:
        return [_decimal(cell) for cell in named[name].tolist()]
    if column != "turnover":
        found = ", ".join(named) or "none"
        raise InputError(
            f"the DataFrame has no column {column}; needed are open, high, low, close and volume, found: {found}"
        )
    return [None] * len(next(iter(named.values())))


def _decimal(cell: Any) -> Decimal | None:
    try:
        found = cell if isinstance(cell, Decimal) else Decimal(str(cell))
    except InvalidOperation:
        return None
    return None if found.is_nan() else found
