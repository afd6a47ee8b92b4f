"""CSV files, also gzipped: their rows behind the header, or one line that says what is wrong with the file."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from bot.errors import InputError

# The end of the year 9999: what lies beyond was not written in milliseconds.
LAST_MS = 253_402_300_799_999

# In case of doubt, the first.
_DELIMITERS = (",", ";", "\t")

# More bad rows than this are counted, not named.
_NAMED_ROWS = 3


def read_rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each row behind the header. InputError where it is no such file."""
    rows = read_table(path, f"the header {','.join(header)}")
    _, first = next(rows, (1, []))
    names = tuple(name.strip() for name in first)
    if names != header:
        found = ",".join(names)[:60] or "nothing"
        raise InputError(f"{path}: line 1 must be the header {','.join(header)}, found {found!r}")
    yield from rows


def read_table(path: Path, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each row that is not empty, the first included.

    Columns lie between commas, semicolons or tabs, whatever the first line has most of. InputError where it is
    no text of rows, with ``expected`` for what it should be.
    """
    try:
        with path.open("rb") as raw, decompressed(raw) as text:
            first = text.readline()
            delimiter = max(_DELIMITERS, key=first.count)
            rows = csv.reader(chain((first,), text), delimiter=delimiter)
            for row in rows:
                if row:
                    yield rows.line_num, row
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; expected CSV with {expected}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from error


def require_sound(path: Path, problems: Sequence[str], count: int, what: str) -> None:
    """InputError that names the first ``problems``, or says that a file of ``what`` has none."""
    if problems:
        named = "; ".join(problems[:_NAMED_ROWS])
        more = f"; and {len(problems) - _NAMED_ROWS} more" if len(problems) > _NAMED_ROWS else ""
        raise InputError(f"{path}: {len(problems)} bad row(s), nothing was read: {named}{more}")
    if not count:
        raise InputError(f"{path} holds no {what}, only a header")


def decompressed(raw: BinaryIO) -> TextIOWrapper:
    """The text of a file, unpacked where it is gzipped."""
    # By content, not by suffix: a renamed file is no mistake.
    magic = raw.read(2)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw
    return TextIOWrapper(stream, encoding="utf-8-sig", newline="")
