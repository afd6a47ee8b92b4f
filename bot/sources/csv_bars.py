"""Bars from files, also gzipped: one is checked to its end, or refused with its bad rows named.

CSV with the project's own header or another's (:mod:`bot.sources.bar_rows`), and freqtrade's candles.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain, pairwise
from pathlib import Path

from msgspec import Struct

from bot import files
from bot.errors import InputError
from bot.files import MAX_DATA_BYTES
from bot.market import INTERVAL_MS, Bar, PriceGrid, PriceGridCounter, interval_from_name, plain, utc_text
from bot.market.bounds import LAST_MS
from bot.market.symbols import symbol_problem
from bot.sources import freqtrade
from bot.sources.bar_rows import HEADER, Layout, layout_of
from bot.sources.csv_files import LONGEST_FIGURE, MOST_PROBLEMS, read_table, require_sound


class BarFile(Struct, frozen=True, kw_only=True):
    """A file of bars that was found sound; iterating reads them, ascending, a few at a time.

    ``starts`` are those of its bars, ``grid`` what all their prices lie on. Raises InputError while
    reading where the file has changed since.
    """

    path: Path
    symbol: str
    interval: str
    starts: Sequence[int]
    grid: PriceGrid
    max_bytes: int = MAX_DATA_BYTES

    @property
    def count(self) -> int:
        """How many bars there are."""
        return len(self.starts)

    def __iter__(self) -> Iterator[Bar]:
        problems: list[str] = []
        found = 0
        for bar in _read(self.path, self.symbol, self.interval, problems, self.max_bytes):
            found += 1
            yield bar
        if problems or found != self.count:
            raise InputError(f"{self.path} has changed since it was checked; let it be and start again")


def check_bars(
    path: Path | str,
    symbol: str | None = None,
    interval: str | None = None,
    max_bytes: int = MAX_DATA_BYTES,
) -> BarFile:
    """Read a file to its end, keeping nothing, so that a later reader meets no bad row half-way.

    ``symbol`` and ``interval`` (Bybit's notation or ``1h``) stand before what the file's name says.
    Gaps are valid; a row off the grid, out of order or contradicting itself is not. Raises InputError,
    in one line that names the file and, where rows are bad, the first of them and their number, or where it
    unpacks to more than ``max_bytes``.
    """
    path = Path(path)
    with files.opened(path, "the file"):
        pass
    symbol, interval = name_parts(path, symbol, interval)
    problems: list[str] = []
    starts, prices = array("q"), PriceGridCounter()
    for bar in _read(path, symbol, interval, problems, max_bytes):
        starts.append(bar.start_ms)
        prices.add(bar.open, bar.high, bar.low, bar.close)
    grid = prices.grid()
    require_sound(path, problems, len(starts), "bars")
    assert grid is not None  # there are bars
    _require_interval(path, interval, starts)
    return BarFile(path=path, symbol=symbol, interval=interval, starts=starts, grid=grid, max_bytes=max_bytes)


def require_agreement(bar_files: Sequence[BarFile]) -> None:
    """InputError where two files tell different prices of one bar, in one line that names the bar."""
    for place, one in enumerate(bar_files):
        for other in bar_files[:place]:
            if (one.symbol, one.interval) != (other.symbol, other.interval):
                continue
            common = set(one.starts).intersection(other.starts)
            known = {bar.start_ms: bar for bar in other if bar.start_ms in common}
            for bar in one:
                before = known.get(bar.start_ms)
                if before is not None and _prices(before) != _prices(bar):
                    raise InputError(
                        f"{other.path} and {one.path} contradict each other: the {bar.symbol} bar of "
                        f"{utc_text(bar.start_ms)} UTC has {_shown(before)} in one and {_shown(bar)} in the other"
                    )


def _prices(bar: Bar) -> tuple[Decimal, ...]:
    return bar.open, bar.high, bar.low, bar.close


def _shown(bar: Bar) -> str:
    return "/".join(map(plain, _prices(bar)))


def read_bars(path: Path | str, symbol: str | None = None, interval: str | None = None) -> list[Bar]:
    """All bars of a file at once, ascending, with the file's digits; raises as :func:`check_bars` does."""
    path = Path(path)
    problems: list[str] = []
    bars = list(_read(path, *name_parts(path, symbol, interval), problems, MAX_DATA_BYTES))
    require_sound(path, problems, len(bars), "bars")
    _require_interval(path, bars[0].interval, [bar.start_ms for bar in bars])
    return bars


_FREQTRADE = re.compile(r"([0-9A-Z]+)_([0-9A-Z]+)(?:_[0-9A-Z]+)?-([0-9]+[a-zA-Z])(?:-(?:futures|spot))?")
_BINANCE = re.compile(r"([0-9A-Z]+)-([0-9]+[a-zA-Z])-[0-9]{4}-.*")


def _name_parts(path: Path) -> list[str]:
    """A name's symbol, venue, interval and more; also of ``BTC_USDT-1h.json`` and ``BTCUSDT-1h-2024-01.csv``."""
    name = path.name.split(".")[0]
    if (told := _FREQTRADE.fullmatch(name)) is not None:
        return [told[1] + told[2], "freqtrade", told[3]]
    if (told := _BINANCE.fullmatch(name)) is not None:
        return [told[1], "binance", told[2]]
    return name.split("_")


def _require_interval(path: Path, interval: str, starts: Sequence[int]) -> None:
    """InputError where rows are never as close as bars of this interval are."""
    closest = min((after - before for before, after in pairwise(starts)), default=INTERVAL_MS[interval])
    if closest > INTERVAL_MS[interval]:
        known = next((name for name, ms in INTERVAL_MS.items() if ms == closest), None)
        cure = f"give --interval {known}" if known else "check its times"
        raise InputError(
            f"{path}: its rows are at least {closest // 60_000} minutes apart, so they are no bars of interval "
            f"{interval}; {cure}"
        )


def name_parts(path: Path, symbol: str | None = None, interval: str | None = None) -> tuple[str, str]:
    """Symbol and interval, as given or by a file's name (``SYMBOL_venue_interval_…``); or InputError."""
    parts = _name_parts(path)
    if symbol is None:
        symbol = parts[0] if len(parts) > 2 else ""
        if not symbol:
            raise InputError(
                f"{path}: its name does not tell the symbol (SYMBOL_venue_interval_…); give --symbol"
            )
    if (problem := symbol_problem(symbol)) is not None:
        raise InputError(f"{path}: {problem}")
    told = interval if interval is not None else parts[2] if len(parts) > 2 else ""
    known = interval_from_name(told)
    if known is None:
        if interval is not None:
            raise InputError(f"unknown interval {interval}; one of {', '.join(INTERVAL_MS)}")
        raise InputError(
            f"{path}: its name does not tell the interval (SYMBOL_venue_interval_…); give --interval"
        )
    return symbol, known


def _read(path: Path, symbol: str, interval: str, problems: list[str], max_bytes: int) -> Iterator[Bar]:
    """The sound rows of a file as bars; what is wrong with the others is added to ``problems``."""
    last_ms = -1
    layout, word, rows = _table(path, interval, max_bytes)
    width, cells, time = layout.width, layout.cells, layout.time
    for number, row in rows:
        try:
            if len(row) != width:
                raise ValueError
            start, open_, high, low, close, volume, turnover = cells(row)
            if len(open_) + len(high) + len(low) + len(close) + len(volume) + len(turnover) > LONGEST_FIGURE:
                _require_short(row)
            bar = Bar(
                symbol=symbol,
                interval=interval,
                start_ms=time(start),
                open=Decimal(open_),
                high=Decimal(high),
                low=Decimal(low),
                close=Decimal(close),
                volume=Decimal(volume),
                turnover=Decimal(turnover) if turnover else None,
                source="import",
            )
        except (ValueError, InvalidOperation, OverflowError):
            problems.append(f"{word} {number}: {_malformed(row, layout)}")
            if len(problems) >= MOST_PROBLEMS:
                return
            continue
        problem = bar.contradiction()
        if problem is None and not 0 <= bar.start_ms <= LAST_MS:
            problem = f"{layout.names[0]} is no time in milliseconds"
        if problem is None and bar.start_ms <= last_ms:
            problem = "its start does not come after the row before it"
        if problem is not None:
            problems.append(f"{word} {number}: {problem}")
            if len(problems) >= MOST_PROBLEMS:
                return
            continue
        last_ms = bar.start_ms
        yield bar


def _table(
    path: Path, interval: str, max_bytes: int
) -> tuple[Layout, str, Iterator[tuple[int, Sequence[str]]]]:
    """How rows are laid out and what one is called, and each with its number: of CSV, or of freqtrade's candles."""
    if freqtrade.is_candles(path, max_bytes):
        layout, _ = layout_of(freqtrade.HEADER, interval, path)
        return layout, "candle", freqtrade.read_candles(path, max_bytes)
    rows = read_table(path, f"the header {','.join(HEADER)}", max_bytes)
    first = next(rows, (1, []))
    layout, is_bar = layout_of(first[1], interval, path)
    return layout, "line", chain((first,), rows) if is_bar else rows


def _require_short(row: Sequence[str]) -> None:
    """ValueError where one of the columns has more characters than a number."""
    if max(map(len, row)) > LONGEST_FIGURE:
        raise ValueError


def _malformed(row: Sequence[str], layout: Layout) -> str:
    if len(row) != layout.width:
        return f"{len(row)} columns where {layout.width} are expected"
    for name, value in zip(layout.names, layout.cells(row), strict=True):
        is_time = name == layout.names[0]
        if len(value) > LONGEST_FIGURE:
            return f"{name} is longer than any number: {value[:40]!r}…"
        if not value and name == layout.names[-1]:
            continue
        try:
            _ = layout.time(value) if is_time else Decimal(value)
        except (ValueError, InvalidOperation, OverflowError):
            what = "time" if is_time and name != "start_ms" else "number"
            return f"{name} is no {what}: {value[:40]!r}"
    return "it is no row of numbers"
