"""How bars are laid out in the files of others: which column is what, by the header or the number of columns."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from msgspec import Struct

from bot.errors import InputError
from bot.sources.bar_times import TimeReader, time_reader

HEADER = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
"""The project's own."""

NAMES = {
    "start_ms": ("start_ms", "date", "datetime", "time", "timestamp", "open_time", "unix"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "turnover": ("turnover", "quote_volume", "quote_asset_volume"),
}
"""What others call each column, in small letters with _ for spaces.

Any further column is left out: an adjusted close among them, for splits and dividends are the data's matter.
"""

_KLINE_COLUMNS = 12
"""Binance's dumps: times and prices as the project's own, then close time, turnover and what is not used."""
_KLINE_TURNOVER = 7


class Layout(Struct, frozen=True, kw_only=True):
    """Where a row has what: ``cells`` gives time, open, high, low, close, volume and turnover ("": none).

    ``names`` are the file's own of these.
    """

    width: int
    names: tuple[str, ...]
    cells: Callable[[Sequence[str]], tuple[str, ...]]
    time: TimeReader


def layout_of(first: Sequence[str], interval: str, path: Path) -> tuple[Layout, bool]:
    """The layout that the first row of a file tells, and whether that row is a bar itself.

    InputError where it tells none.
    """
    header = tuple(name.strip() for name in first)
    if header == HEADER:
        return _layout(range(len(HEADER)), HEADER, len(HEADER), interval), False
    if len(header) == _KLINE_COLUMNS and header[0].isdecimal():
        kline = ("open_time", *HEADER[1:])
        return _layout([*range(6), _KLINE_TURNOVER], kline, _KLINE_COLUMNS, interval), True
    known = [name.lower().replace(" ", "_") for name in header]
    places: list[int | None] = []
    for column, names in NAMES.items():
        place = next((known.index(name) for name in names if name in known), None)
        if place is None and column != "turnover":
            found = ",".join(header)[:60] or "nothing"
            raise InputError(
                f"{path}: line 1 must be the header {','.join(HEADER)}, or another's with date (or timestamp), "
                f"open, high, low, close, volume; found {found!r}"
            )
        places.append(place)
    named = tuple("" if place is None else header[place] for place in places)
    layout = _layout(places, named, len(header), interval, known[places[0] or 0])
    return layout, False


def _layout(
    places: Sequence[int | None],
    names: tuple[str, ...],
    width: int,
    interval: str,
    time_column: str | None = None,
) -> Layout:
    pick: Callable[[Sequence[str]], tuple[str, ...]]
    if places[-1] is None:
        told = itemgetter(*places[:-1])

        def pick(row: Sequence[str]) -> tuple[str, ...]:
            return (*told(row), "")
    else:
        pick = itemgetter(*places)
    time = time_reader(names[0] if time_column is None else time_column, interval)
    return Layout(width=width, names=names, cells=pick, time=time)
