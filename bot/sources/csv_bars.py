"""Bars from CSV files, also gzipped: a file is checked to its end, or refused with its bad rows named."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from msgspec import Struct

from bot.errors import InputError
from bot.market import INTERVAL_MS, Bar, PriceGrid, PriceGridCounter, interval_from_name
from bot.sources.csv_files import LAST_MS, read_rows, require_sound

HEADER = ("start_ms", "open", "high", "low", "close", "volume", "turnover")


class BarFile(Struct, frozen=True, kw_only=True):
    """A file of bars that was found sound; iterating reads them, ascending, a few at a time.

    ``count`` is how many there are, ``grid`` what all their prices lie on. Raises InputError while
    reading where the file has changed since.
    """

    path: Path
    symbol: str
    interval: str
    count: int
    grid: PriceGrid

    def __iter__(self) -> Iterator[Bar]:
        problems: list[str] = []
        found = 0
        for bar in _read(self.path, self.symbol, self.interval, problems):
            found += 1
            yield bar
        if problems or found != self.count:
            raise InputError(f"{self.path} has changed since it was checked; let it be and start again")


def check_bars(path: Path | str, symbol: str | None = None, interval: str | None = None) -> BarFile:
    """Read a file to its end, keeping nothing, so that a later reader meets no bad row half-way.

    ``symbol`` and ``interval`` (Bybit's notation or ``1h``) stand before what the file's name says.
    Gaps are valid; a row off the grid, out of order or contradicting itself is not. Raises InputError,
    in one line that names the file and, where rows are bad, the first of them and their number.
    """
    path = Path(path)
    symbol, interval = name_parts(path, symbol, interval)
    problems: list[str] = []
    count, prices = 0, PriceGridCounter()
    for bar in _read(path, symbol, interval, problems):
        count += 1
        prices.add((bar.open, bar.high, bar.low, bar.close))
    grid = prices.grid()
    require_sound(path, problems, count, "bars")
    assert grid is not None  # there are bars
    return BarFile(path=path, symbol=symbol, interval=interval, count=count, grid=grid)


def read_bars(path: Path | str, symbol: str | None = None, interval: str | None = None) -> list[Bar]:
    """All bars of a file at once, ascending, with the file's digits; raises as :func:`check_bars` does."""
    path = Path(path)
    problems: list[str] = []
    bars = list(_read(path, *name_parts(path, symbol, interval), problems))
    require_sound(path, problems, len(bars), "bars")
    return bars


def name_parts(path: Path, symbol: str | None = None, interval: str | None = None) -> tuple[str, str]:
    """Symbol and interval, as given or by a file's name (``SYMBOL_venue_interval_…``); or InputError."""
    parts = path.name.split(".")[0].split("_")
    if symbol is None:
        symbol = parts[0] if len(parts) > 2 else ""
        if not symbol:
            raise InputError(
                f"{path}: its name does not tell the symbol (SYMBOL_venue_interval_…); give --symbol"
            )
    told = interval if interval is not None else parts[2] if len(parts) > 2 else ""
    known = interval_from_name(told)
    if known is None:
        if interval is not None:
            raise InputError(f"unknown interval {interval}; one of {', '.join(INTERVAL_MS)}")
        raise InputError(
            f"{path}: its name does not tell the interval (SYMBOL_venue_interval_…); give --interval"
        )
    return symbol, known


def _read(path: Path, symbol: str, interval: str, problems: list[str]) -> Iterator[Bar]:
    """The sound rows of a file as bars; what is wrong with the others is added to ``problems``."""
    last_ms = -1
    for line, row in read_rows(path, HEADER):
        try:
            start, open_, high, low, close, volume, turnover = row
            bar = Bar(
                symbol=symbol,
                interval=interval,
                start_ms=int(start),
                open=Decimal(open_),
                high=Decimal(high),
                low=Decimal(low),
                close=Decimal(close),
                volume=Decimal(volume),
                turnover=Decimal(turnover) if turnover else None,
                source="import",
            )
        except (ValueError, InvalidOperation):
            problems.append(f"line {line}: {_malformed(row)}")
            continue
        problem = bar.contradiction()
        if problem is None and not 0 <= bar.start_ms <= LAST_MS:
            problem = "start_ms is no time in milliseconds"
        if problem is None and bar.start_ms <= last_ms:
            problem = "its start does not come after the row before it"
        if problem is not None:
            problems.append(f"line {line}: {problem}")
            continue
        last_ms = bar.start_ms
        yield bar


def _malformed(row: list[str]) -> str:
    if len(row) != len(HEADER):
        return f"{len(row)} columns where {len(HEADER)} are expected"
    for name, value in zip(HEADER, row, strict=True):
        if name == "turnover" and not value:
            continue
        try:
            _ = int(value) if name == "start_ms" else Decimal(value)
        except (ValueError, InvalidOperation):
            return f"{name} is no number: {value[:20]!r}"
    return "it is no row of numbers"
