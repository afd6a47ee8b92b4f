"""Tables and titles for people: drawn on a terminal, plain columns of text elsewhere."""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

_FIGURE = re.compile(r"[+-]?[\d,]*\.?\d+%?( ± [\d.]+%?)?")
_APART = 2


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    spare: Sequence[str] = (),
    notes: Sequence[Sequence[str]] = (),
) -> None:
    """Print rows under their headers, figures to the right.

    A terminal too narrow for all columns leaves out those named ``spare``, last first, as far as it
    must, and breaks what the last column says; a pipe gets all in one line. ``notes`` holds, for each row,
    lines to be wrapped below it.
    """
    terminal = sys.stdout.isatty()
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for name in reversed(spare):
        if not terminal or _breadth(widths) <= _screen():
            break
        place = [column[0] for column in columns].index(name)
        del columns[place], widths[place]
    figures = [all(cell == "-" or _FIGURE.fullmatch(cell) for cell in column[1:]) for column in columns]
    for number, row in enumerate(zip(*columns, strict=True)):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, figures, strict=True)
        ]
        line = (" " * _APART).join(cells).rstrip()
        if number == 0:
            if line:
                print(_bold(line))
            continue
        print_text(line, indent=sum(widths[:-1]) + _APART * (len(widths) - 1))
        for note in notes[number - 1] if notes else ():
            print(_wrapped(note))


def print_title(text: str) -> None:
    """Print a heading, an empty line before it."""
    print(f"\n{_bold(text)}")


def print_text(text: str, *, indent: int = 2) -> None:
    """Print a line, on a terminal broken between words, each further line set in by so much."""
    if sys.stdout.isatty() and len(text) > _screen() > indent:
        text = textwrap.fill(
            text, _screen(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
    print(text)


def _breadth(widths: Sequence[int]) -> int:
    return sum(widths) + _APART * (len(widths) - 1)


def _screen() -> int:
    return shutil.get_terminal_size().columns


def _wrapped(text: str) -> str:
    """A note, set in under its row; a pipe gets it in one line."""
    if not sys.stdout.isatty():
        return f"    {text}"
    lines = textwrap.fill(
        text, _screen(), initial_indent=" " * 4, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return f"\x1b[2m{lines}\x1b[0m"


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text
