import math
import re
from xml.etree import ElementTree

from bot.evaluation.plots import Line, Mark, interval_chart, line_chart


def dots(chart: str) -> list[tuple[float, float]]:
    circles = ElementTree.fromstring(chart).iter("{http://www.w3.org/2000/svg}circle")
    return [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in circles]


def test_higher_figures_stand_higher_and_equal_factors_equally_far_apart():
    chart = line_chart("t", "x", "y", [Line(name="a", points=[(10, 1), (100, 2), (1000, 3)])], log_x=True)
    (x1, y1), (x2, y2), (x3, y3) = dots(chart)
    assert abs((x2 - x1) - (x3 - x2)) < 0.11
    assert y1 > y2 > y3


def test_what_is_not_finite_is_left_out():
    line = Line(name="a", points=[(1, math.nan), (2, 1.0), (3, 2.0)])
    marks = [
        Mark(name="b", value=math.nan, low=0, high=1),
        Mark(name="c", value=1, low=math.nan, high=math.nan),
    ]
    for chart in (line_chart("t", "x", "y", [line]), interval_chart("t", marks)):
        ElementTree.fromstring(chart)
        assert not re.search(r"\bnan\b", chart)
    assert len(dots(line_chart("t", "x", "y", [line]))) == 2
    assert len(dots(interval_chart("t", marks))) == 1


def test_names_are_text_whatever_is_in_them():
    chart = interval_chart("a < b & c", [Mark(name="<x>", value=0.1, low=0.0, high=0.2)])
    assert "a < b & c" in "".join(ElementTree.fromstring(chart).itertext())


def test_nothing_to_draw_is_still_a_chart():
    for chart in (line_chart("empty", "x", "y", []), interval_chart("empty", [])):
        assert "empty" in "".join(ElementTree.fromstring(chart).itertext())
        assert dots(chart) == []
