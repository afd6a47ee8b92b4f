"""Bars from CSV files, also gzipped: a file is checked to its end, or refused with its bad rows named."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from bot.errors import InputError
from bot.market import INTERVAL_MS, Bar, interval_from_name

HEADER = ("start_ms", "open", "high", "low", "close", "volume", "turnover")

# The last start of the year 9999: what lies beyond was not written in milliseconds.
_LAST_MS = 253_402_300_799_999

# More bad rows than this are counted, not named.
_NAMED_ROWS = 3


class BarFile(Struct, frozen=True, kw_only=True):
    """A file of bars that was found sound; iterating reads them, ascending, a few at a time.

    ``count`` is how many there are. Raises InputError while reading where the file has changed since.
    """

    path: Path
    symbol: str
    interval: str
    count: int

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
    count = sum(1 for _ in _read(path, symbol, interval, problems))
    _require_sound(path, problems, count)
    return BarFile(path=path, symbol=symbol, interval=interval, count=count)


def read_bars(path: Path | str, symbol: str | None = None, interval: str | None = None) -> list[Bar]:
    """All bars of a file at once, ascending, with the file's digits; raises as :func:`check_bars` does."""
    path = Path(path)
    problems: list[str] = []
    bars = list(_read(path, *name_parts(path, symbol, interval), problems))
    _require_sound(path, problems, len(bars))
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


def _decompressed(raw: BinaryIO) -> TextIOWrapper:
    # By content, not by suffix: a renamed file is no mistake.
    magic = raw.read(2)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw
    return TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _read(path: Path, symbol: str, interval: str, problems: list[str]) -> Iterator[Bar]:
    """The sound rows of a file as bars; what is wrong with the others is added to ``problems``."""
    try:
        with path.open("rb") as raw, _decompressed(raw) as text:
            yield from _bars(text, path, symbol, interval, problems)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a text file; expected CSV with the header {','.join(HEADER)}"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from error


def _require_sound(path: Path, problems: list[str], count: int) -> None:
    if problems:
        named = "; ".join(problems[:_NAMED_ROWS])
        more = f"; and {len(problems) - _NAMED_ROWS} more" if len(problems) > _NAMED_ROWS else ""
        raise InputError(f"{path}: {len(problems)} bad row(s), nothing was read: {named}{more}")
    if not count:
        raise InputError(f"{path} holds no bars, only a header")


def _bars(text: TextIOWrapper, path: Path, symbol: str, interval: str, problems: list[str]) -> Iterator[Bar]:
    rows = csv.reader(text)
    header = tuple(name.strip() for name in next(rows, ()))
    if header != HEADER:
        found = ",".join(header)[:60] or "nothing"
        raise InputError(f"{path}: line 1 must be the header {','.join(HEADER)}, found {found!r}")
    last_ms = -1
    for row in rows:
        if not row:
            continue
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
            problems.append(f"line {rows.line_num}: {_malformed(row)}")
            continue
        problem = bar.contradiction()
        if problem is None and not 0 <= bar.start_ms <= _LAST_MS:
            problem = "start_ms is no time in milliseconds"
        if problem is None and bar.start_ms <= last_ms:
            problem = "its start does not come after the row before it"
        if problem is not None:
            problems.append(f"line {rows.line_num}: {problem}")
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
