"""Plain charts as SVG text, without any stacked: lines over a scale, and figures with their intervals."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, isfinite, log10

from msgspec import Struct

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 28, 52, 44
_ROW = 22
_LETTER = 6.6
"""How wide a letter is at most on average: text can only be measured where it is shown."""
_ACROSS, _UP = 60, 36
"""How far apart ticks are at least, beside and above one another."""
_COLOURS = ("#1f5fa8", "#c2571a", "#2b8a3e", "#7a4bb0", "#b8324f", "#1b8a8f", "#8a6d1b", "#5b5b8f")
_FAINT, _GRID, _ZERO = "#888888", "#e2e2e2", "#999999"

_Ticks = list[tuple[float, str]]


class Line(Struct, frozen=True, kw_only=True):
    """A named line through points (x, y); what is not finite is left out.

    ``spans`` are the intervals (low, high) of the points, one each, or none at all. A ``faint`` line is there
    for comparison: grey, without dots.
    """

    name: str
    points: Sequence[tuple[float, float]]
    spans: Sequence[tuple[float, float]] = ()
    faint: bool = False


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

    points = [(x, y) for line in lines for x, y in line.points if isfinite(x) and isfinite(y)]
    if not points:
        return _page(_WIDTH, _HEIGHT, [_text(_LEFT, 20, title, bold=True)])
    right = _WIDTH - _RIGHT - max(len(line.name) for line in lines) * _LETTER
    bottom = _HEIGHT - _BOTTOM
    xs = sorted({x for x, _ in points})
    x_ticks = (
        _at_points(xs, right - _LEFT) if log_x else _round_ticks(xs[0], xs[-1], (right - _LEFT) / _ACROSS)
    )
    ys = [y for _, y in points] + [y for line in lines for span in line.spans for y in span if isfinite(y)]
    y_ticks = _round_ticks(min(ys), max(ys), (bottom - _TOP) / _UP)
    x_low, x_high = (_spared(across(xs[0]), across(xs[-1]))) if log_x else (x_ticks[0][0], x_ticks[-1][0])
    y_low, y_high = y_ticks[0][0], y_ticks[-1][0]

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (across(x) - x_low) / (x_high - x_low) * (right - _LEFT),
            bottom - (y - y_low) / (y_high - y_low) * (bottom - _TOP),
        )

    parts = [
        _text(_LEFT, 20, title, bold=True),
        _text(_LEFT, _TOP - 12, y_name),
        _text((_LEFT + right) / 2, _HEIGHT - 8, x_name, middle=True),
    ]
    for y, label in y_ticks:
        height = at(xs[0], y)[1]
        parts.append(_stroke(_LEFT, height, right, height, _GRID if y else _ZERO))
        parts.append(_text(_LEFT - 6, height + 4, label, end=True))
    for x, label in x_ticks:
        place = at(x, y_low)[0]
        parts.append(_stroke(place, bottom, place, bottom + 4, _ZERO))
        parts.append(_text(place, bottom + 17, label, middle=True))
    shared = len(points) > len(xs)
    colours = iter(_COLOURS * len(lines))
    for i, line in enumerate(lines):
        colour = _FAINT if line.faint else next(colours)
        # Where lines have places in common, no interval hides another.
        aside = (i - (len(lines) - 1) / 2) * min(5.0, 24 / len(lines)) if shared and line.spans else 0.0
        places = [(left + aside, y) for left, y in (at(*p) for p in line.points if all(map(isfinite, p)))]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="5 4"' if line.faint else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        for (x, _), (low, high) in zip(line.points, line.spans, strict=False):
            if isfinite(x) and isfinite(low) and isfinite(high):
                place = at(x, low)[0] + aside
                parts.append(_stroke(place, at(x, low)[1], place, at(x, high)[1], colour))
        if not line.faint and len(places) <= 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        parts.append(_text(right + 12, _TOP + 4 + 16 * i, line.name, colour=colour))
    return _page(_WIDTH, _HEIGHT, parts)


def interval_chart(title: str, marks: Sequence[Mark]) -> str:
    """Figures under one another as dots with their intervals, beside a line at 0."""
    known = [mark for mark in marks if isfinite(mark.value)]
    height = _TOP + _ROW * len(known) + 20
    left = max((len(mark.name) for mark in known), default=0) * _LETTER + 24
    reach = [0.0, *(v for mark in known for v in (mark.value, mark.low, mark.high) if isfinite(v))]
    ticks = _round_ticks(min(reach), max(reach), (_WIDTH - _RIGHT - left) / _ACROSS)
    low, high = ticks[0][0], ticks[-1][0]

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - _RIGHT - left)

    parts = [_text(8, 20, title, bold=True)]
    for value, label in ticks:
        parts.append(_stroke(at(value), _TOP - 14, at(value), height - 24, _GRID if value else _ZERO))
        parts.append(_text(at(value), height - 8, label, middle=True))
    for i, mark in enumerate(known):
        y = _TOP + _ROW * i
        parts.append(_text(left - 10, y + 4, mark.name, end=True))
        if isfinite(mark.low) and isfinite(mark.high):
            parts.append(_stroke(at(mark.low), y, at(mark.high), y, _COLOURS[0]))
        parts.append(f'<circle cx="{at(mark.value):.1f}" cy="{y}" r="3" fill="{_COLOURS[0]}"/>')
    return _page(_WIDTH, height, parts)


def _round_ticks(low: float, high: float, most: float) -> _Ticks:
    """At multiples of 1, 2 or 5 of a power of ten, the first at most ``low``, the last at least ``high``."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    least = (high - low) / max(most - 1, 1)
    power = 10.0 ** floor(log10(least))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least * (1 - 1e-9))
    digits = max(0, -floor(log10(step) + 1e-9))
    # A whole number of steps apart but for rounding is not one step more.
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


def _at_points(xs: Sequence[float], width: float) -> _Ticks:
    """A tick at each of these ascending values that is far enough from the one before, on a scale of factors."""
    low, high = _spared(log10(xs[0]), log10(xs[-1]))
    ticks: _Ticks = []
    for x in xs:
        if not ticks or log10(x / ticks[-1][0]) / (high - low) * width >= _ACROSS:
            ticks.append((x, f"{x:,.0f}"))
    return ticks


def _spared(low: float, high: float) -> tuple[float, float]:
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
