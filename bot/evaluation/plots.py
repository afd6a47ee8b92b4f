"""Plain charts as SVG text, without any library: lines over a scale, and figures with their intervals."""

from collections.abc import Sequence
from html import escape
from math import isfinite, log10

from msgspec import Struct

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 36, 44
_ROW = 22
_LABELS = 220
_COLOURS = ("#1f5fa8", "#c2571a", "#2b8a3e", "#7a4bb0", "#888888")


class Line(Struct, frozen=True, kw_only=True):
    """A named line through points (x, y); what is not finite is left out."""

    name: str
    points: Sequence[tuple[float, float]]


class Mark(Struct, frozen=True, kw_only=True):
    """A named figure with its interval."""

    name: str
    value: float
    low: float
    high: float


def line_chart(title: str, x_name: str, y_name: str, lines: Sequence[Line], *, log_x: bool = False) -> str:
    """Lines over x, their points marked; with ``log_x`` equal factors of x are equally wide."""

    def across(x: float) -> float:
        return log10(x) if log_x else x

    points = [(across(x), y) for line in lines for x, y in line.points if isfinite(x) and isfinite(y)]
    if not points:
        return _page(_WIDTH, _HEIGHT, [_text(_LEFT, 20, title, bold=True)])
    x_low, x_high = _range([x for x, _ in points])
    y_low, y_high = _range([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (across(x) - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_text(_LEFT, 20, title, bold=True), _text(_LEFT, _HEIGHT - 6, f"{y_name} over {x_name}")]
    for i in range(5):
        y = y_low + (y_high - y_low) * i / 4
        height = _HEIGHT - _BOTTOM - i / 4 * (_HEIGHT - _TOP - _BOTTOM)
        parts.append(_stroke(_LEFT, height, _WIDTH - _RIGHT, height, "#dddddd"))
        parts.append(_text(_LEFT - 6, height + 4, f"{y:.3g}", end=True))
    for x in sorted({x for line in lines for x, _ in line.points})[:: max(1, len(points) // 8)]:
        place = at(x, y_low)[0]
        parts.append(_text(place, _HEIGHT - _BOTTOM + 16, f"{x:,.4g}", middle=True))
    for i, line in enumerate(lines):
        colour = _COLOURS[i % len(_COLOURS)]
        places = [at(x, y) for x, y in line.points if isfinite(x) and isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(places) <= 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        parts.append(_text(_WIDTH - _RIGHT, 20 + 14 * i, line.name, end=True, colour=colour))
    return _page(_WIDTH, _HEIGHT, parts)


def interval_chart(title: str, marks: Sequence[Mark]) -> str:
    """Figures under one another as dots with their intervals, beside a line at 0."""
    known = [mark for mark in marks if isfinite(mark.value)]
    height = _TOP + _ROW * len(known) + 30
    parts = [_text(8, 20, title, bold=True)]
    reach = [0.0, *(v for mark in known for v in (mark.value, mark.low, mark.high) if isfinite(v))]
    low, high = _range(reach)

    def at(value: float) -> float:
        return _LABELS + (value - low) / (high - low) * (_WIDTH - _LABELS - _RIGHT)

    parts.append(_stroke(at(0.0), _TOP - 6, at(0.0), height - 24, "#bbbbbb"))
    for i, mark in enumerate(known):
        y = _TOP + _ROW * i + 8
        parts.append(_text(_LABELS - 8, y + 4, mark.name, end=True))
        if isfinite(mark.low) and isfinite(mark.high):
            parts.append(_stroke(at(mark.low), y, at(mark.high), y, _COLOURS[0]))
        parts.append(f'<circle cx="{at(mark.value):.1f}" cy="{y}" r="3" fill="{_COLOURS[0]}"/>')
    for value in (low, 0.0, high):
        parts.append(_text(at(value), height - 8, f"{value:.3g}", middle=True))
    return _page(_WIDTH, height, parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    spare = 0.05 * (high - low) or 0.5
    return low - spare, high + spare


def _page(width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join((head, ground, *parts, "</svg>")) + "\n"


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    end: bool = False,
    middle: bool = False,
    bold: bool = False,
    colour: str = "#222222",
) -> str:
    anchor = "end" if end else "middle" if middle else "start"
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'
    )
