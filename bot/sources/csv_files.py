"""CSV files, also gzipped: their rows behind the header, or one line that says what is wrong with the file."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from bot import files
from bot.errors import InputError

# In case of doubt, the first.
_DELIMITERS = (",", ";", "\t")

# More bad rows than this are counted, not named, and after so many nothing further is read.
_NAMED_ROWS = 3
MOST_PROBLEMS = 1_000

_SETTING = "run.max_data_mb"
_LONGEST_LINE = 1_000_000
_LINES_OF_A_ROW = 1_000
LONGEST_FIGURE = 90
"""Characters of a number; what has more digits than that cannot be reckoned with exactly."""


def read_rows(path: Path, header: tuple[str, ...], max_bytes: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each row behind the header. InputError where it is no such file."""
    rows = read_table(path, f"the header {','.join(header)}", max_bytes)
    _, first = next(rows, (1, []))
    names = tuple(name.strip() for name in first)
    if names != header:
        found = ",".join(names)[:60] or "nothing"
        raise InputError(f"{path}: line 1 must be the header {','.join(header)}, found {found!r}")
    yield from rows


def read_table(path: Path, expected: str, max_bytes: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of each row that is not empty, the first included.

    Columns lie between commas, semicolons or tabs, whatever the first line has most of. InputError where it is
    no text of rows, with ``expected`` for what it should be, or unpacks to more than ``max_bytes``.
    """
    try:
        with opened_text(path, max_bytes) as text:
            first = text.readline(_LONGEST_LINE)
            delimiter = max(_DELIMITERS, key=first.count)
            quoted = [0]
            rows = csv.reader(_lines(first, text, quoted), delimiter=delimiter)
            for row in rows:
                quoted[0] = 0
                if row:
                    yield rows.line_num, row
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; expected CSV with {expected}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from error


def require_sound(path: Path | str, problems: Sequence[str], count: int, what: str) -> None:
    """InputError that names the first ``problems``, or says that a file of ``what`` has none."""
    if problems:
        named = "; ".join(problems[:_NAMED_ROWS])
        more = f"; and {len(problems) - _NAMED_ROWS} more" if len(problems) > _NAMED_ROWS else ""
        least = "at least " if len(problems) >= MOST_PROBLEMS else ""
        raise InputError(f"{path}: {least}{len(problems)} bad row(s), nothing was read: {named}{more}")
    if not count:
        raise InputError(f"{path} holds no {what}, only a header")


def _lines(first: str, text: TextIOWrapper, quoted: list[int]) -> Iterator[str]:
    """The lines of a text, none longer than any row; ``quoted`` counts those of one row that hold quotation marks."""
    line = first
    while line:
        if len(line) >= _LONGEST_LINE:
            raise csv.Error(f"a line of {_LONGEST_LINE:,} characters or more, which no row has")
        if '"' in line:
            quoted[0] += 1
            if quoted[0] > _LINES_OF_A_ROW:
                raise csv.Error(f"a row of more than {_LINES_OF_A_ROW:,} lines; is a quotation mark missing?")
        yield line
        line = text.readline(_LONGEST_LINE)


@contextmanager
def opened_text(path: Path, max_bytes: int) -> Iterator[TextIOWrapper]:
    """The text of a file, unpacked where it is gzipped, no more of it than ``max_bytes``."""
    with (
        files.unpacked(path, "the file", max_bytes, _SETTING) as data,
        TextIOWrapper(data, encoding="utf-8-sig", newline="") as text,
    ):
        yield text
