"""Tables and titles for people: drawn on a terminal, plain columns of text elsewhere."""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

from bot.standard_streams import styled

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
    must, and breaks what the last column says; where that is not enough either, each row becomes lines of
    its own. A pipe gets all in one line. ``notes`` holds, for each row,
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
    lead = _breadth(widths) - widths[-1]
    if terminal and lead + max(len(columns[-1][0]), *map(_longest_word, columns[-1])) > _screen():
        _print_records(columns, notes)
        return
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


def _print_records(columns: Sequence[Sequence[str]], notes: Sequence[Sequence[str]]) -> None:
    """Each row as a line for each of its cells, behind the column's name."""
    headers = [column[0] for column in columns]
    breadth = max(map(len, headers)) + _APART
    for number, row in enumerate(zip(*(column[1:] for column in columns), strict=True)):
        if number:
            print()
        for header, cell in zip(headers, row, strict=True):
            print_text(f"{header.ljust(breadth)}{cell}".rstrip(), indent=breadth)
        for note in notes[number] if notes else ():
            print(_wrapped(note))


def print_title(text: str) -> None:
    """Print a heading, an empty line before it."""
    if sys.stdout.isatty():
        text = textwrap.fill(text, _screen())
    print(f"\n{_bold(text)}")


def print_text(text: str, *, indent: int = 2) -> None:
    """Print a line, on a terminal broken between words, each further line set in by so much."""
    if sys.stdout.isatty() and len(text) > _screen() > indent:
        text = textwrap.fill(text, _screen(), subsequent_indent=" " * indent, break_on_hyphens=False)
    print(text)


def _breadth(widths: Sequence[int]) -> int:
    return sum(widths) + _APART * (len(widths) - 1)


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _screen() -> int:
    return shutil.get_terminal_size().columns


def _wrapped(text: str) -> str:
    """A note, set in under its row; a pipe gets it in one line."""
    if not sys.stdout.isatty():
        return f"    {text}"
    lines = textwrap.fill(
        text, _screen(), initial_indent=" " * 4, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return f"\x1b[2m{lines}\x1b[0m" if styled(sys.stdout) else lines


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if styled(sys.stdout) else text
