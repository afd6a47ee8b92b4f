"""freqtrade's candles: JSON (``[[ms, open, high, low, close, volume], …]``, also gzipped) and feather."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from bot import files
from bot.errors import InputError, shortened
from bot.sources.csv_files import opened_text

HEADER = ("date", "open", "high", "low", "close", "volume")

_LONGEST_CANDLE, _PART = 10_000, 1 << 16
_BEGIN, _NEXT = re.compile(r"\s*\[\s*(\])?"), re.compile(r"\s*(,|\])\s*")
_FEATHER = (b"ARROW1", b"FEA1")
_CURE = "pip install pandas pyarrow, or let freqtrade convert it (freqtrade convert-data --format-to json)"


def is_candles(path: Path, max_bytes: int) -> bool:
    """Whether a file holds candles as freqtrade keeps them, by its content. InputError where it is no file."""
    if _is_feather(path):
        return True
    try:
        with opened_text(path, max_bytes) as text:
            return text.read(64).lstrip().startswith("[")
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile):
        return False


def read_candles(path: Path, max_bytes: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Each candle's number, and its columns as text (:data:`HEADER`) with the file's digits.

    Raises InputError where it holds none, or where what reads feather is not installed.
    """
    yield from enumerate(_feather(path) if _is_feather(path) else _json(path, max_bytes), start=1)


def _is_feather(path: Path) -> bool:
    with files.opened(path, "the file") as file:
        return file.read(6).startswith(_FEATHER)


def _json(path: Path, max_bytes: int) -> Iterator[Sequence[str]]:
    try:
        with opened_text(path, max_bytes) as text:
            for candle in _elements(text):
                yield [_text(cell) for cell in candle] if isinstance(candle, list) else [_text(candle)]
    except (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is no JSON of candles [[ms, open, high, low, close, volume], …]: {shortened(error)}"
        ) from error


def _elements(text: TextIOWrapper) -> Iterator[Any]:
    """The elements of a JSON array, few of them in memory at a time, figures as they are written."""
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).raw_decode
    # What is not decoded yet begins at ``at``.
    rest, at, separator = text.read(_PART), 0, _BEGIN
    while True:
        if len(rest) - at < _LONGEST_CANDLE:
            rest, at = rest[at:] + text.read(_PART), 0
        found = separator.match(rest, at)
        if found is None:
            raise ValueError(f"no list goes on like this: {rest[at : at + 20]!r}")
        at = found.end()
        if found[1] == "]":
            if rest[at:].strip() or text.read(1):
                raise ValueError("something follows the list")
            return
        element, at = decode(rest, at)
        yield element
        separator = _NEXT


def _feather(path: Path) -> Iterator[Sequence[str]]:
    try:
        import pandas
        import pyarrow
    except ImportError as error:
        raise InputError(
            f"{path}: feather needs pandas and pyarrow, which are not installed: {_CURE}"
        ) from error
    try:
        table = pandas.read_feather(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(
            f"{path} is no feather file that can be read: {str(error).splitlines()[0]}"
        ) from error
    missing = [name for name in HEADER if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: a feather file of candles has the columns {', '.join(HEADER)}; {missing[0]} is missing"
        )
    for row in zip(*(table[name] for name in HEADER), strict=True):
        yield [_text(cell) for cell in row]


def _text(cell: Any) -> str:
    """A float's shortest digits, a date as ISO has it."""
    if isinstance(cell, str):
        return cell
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat())
    return repr(float(cell)) if isinstance(cell, float) else str(cell)
