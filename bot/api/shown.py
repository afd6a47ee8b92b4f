"""What the interpreter and a notebook show: columns of text, tables and charts as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from bot.evaluation.plots import Line, line_chart

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_POINTS = 600
"""A curve has so many points at most: the lowest and highest of each stretch."""
_ROWS = 10


def text_table(rows: Sequence[Sequence[str]], *, indent: int = 2) -> str:
    """Columns of text, the first to the left, the others as wide as they need."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


def html_table(rows: Iterable[Sequence[str]]) -> str:
    """The same as HTML, the first column as headings."""
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f'<tr><th style="text-align:left">{escape(first)}</th>{cells}</tr>')
    return f"<table>{''.join(lines)}</table>"


def html_frame(title: str, frame: "DataFrame") -> str:
    """A line and the ends of a frame below it."""
    return f"<p>{escape(title)}</p>{frame.to_html(max_rows=_ROWS)}"


def value_chart(title: str, curves: Mapping[str, "Series[float]"]) -> str:
    """Curves over UTC time as SVG, in days since the first; "" without two points."""
    lines = []
    known = {name: curve for name, curve in curves.items() if len(curve) > 1}
    if not known:
        return ""
    first = min(curve.index[0] for curve in known.values())
    for name, curve in known.items():
        days = (curve.index - first).total_seconds() / 86_400
        points = list(zip(days.tolist(), curve.tolist(), strict=True))
        lines.append(Line(name=name, points=_thinned(points), faint=name != next(iter(known))))
    return line_chart(title, f"days since {first:%Y-%m-%d %H:%M} UTC", "", lines)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most as many points as a chart can show; none of the extremes is lost."""
    if len(points) <= _POINTS:
        return list(points)
    step = -(-len(points) * 2 // _POINTS)
    kept = []
    for begin in range(0, len(points), step):
        part = points[begin : begin + step]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


def percent(value: float | None, form: str = "+.2%") -> str:
    """``+1.20%``; - where it is not known."""
    return "-" if value is None else format(value, form)
