"""freqtrade's candles: JSON (``[[ms, open, high, low, close, volume], …]``, also gzipped) and feather."""

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bot.errors import InputError
from bot.sources.csv_files import decompressed

HEADER = ("date", "open", "high", "low", "close", "volume")

_FEATHER = (b"ARROW1", b"FEA1")
_CURE = "pip install pandas pyarrow, or let freqtrade convert it (freqtrade convert-data --format-to json)"


def is_candles(path: Path) -> bool:
    """Whether a file holds candles as freqtrade keeps them, by its content. False where it cannot be read."""
    try:
        with path.open("rb") as raw:
            if raw.read(6).startswith(_FEATHER):
                return True
            raw.seek(0)
            with decompressed(raw) as text:
                return text.read(64).lstrip().startswith("[")
    except (OSError, ValueError, EOFError, zlib.error):
        return False


def read_candles(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """Each candle's number, and its columns as text (:data:`HEADER`) with the file's digits.

    Raises InputError where it holds none, or where what reads feather is not installed.
    """
    with path.open("rb") as file:
        is_feather = file.read(6).startswith(_FEATHER)
    yield from enumerate(_feather(path) if is_feather else _json(path), start=1)


def _json(path: Path) -> Iterator[Sequence[str]]:
    try:
        with path.open("rb") as raw, decompressed(raw) as text:
            # Figures stay as they are written.
            candles = json.loads(text.read(), parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is no JSON of candles [[ms, open, high, low, close, volume], …]: {error}"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    for candle in candles:
        yield [_text(cell) for cell in candle] if isinstance(candle, list) else [_text(candle)]


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
