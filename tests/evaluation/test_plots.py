import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from bot.evaluation.plots import Line, Mark, interval_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
LETTER = 6.6


def texts(chart: str) -> list[tuple[float, float, float, str]]:
    """Where each text begins and ends, its height, and what it says; letters are taken as wide ones."""
    found = []
    for each in ElementTree.fromstring(chart).iter(f"{SVG}text"):
        x, y, text = float(each.attrib["x"]), float(each.attrib["y"]), each.text or ""
        width = len(text) * LETTER
        before = {"start": 0.0, "middle": width / 2, "end": width}[each.attrib["text-anchor"]]
        found.append((x - before, x - before + width, y, text))
    return found


def dots(chart: str) -> list[tuple[float, float]]:
    circles = ElementTree.fromstring(chart).iter(f"{SVG}circle")
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


RELIABILITY = [
    Line(name="perfect", points=[(0.0, 0.0), (1.0, 1.0)], faint=True),
    Line(name="BTCUSDT", points=[(0.2585, 0.0), (0.3981, 1.0), (0.4792, 0.533), (0.5232, 0.523)]),
    Line(name="1000PEPEUSDT", points=[(0.2938, 0.0), (0.3615, 0.5), (0.4826, 0.57), (0.5193, 0.475)]),
]


@pytest.mark.parametrize(
    "chart",
    [
        line_chart("t", "stated", "share that rose", RELIABILITY),
        line_chart("t", "x", "y", [Line(name="a", points=[(2_000, -0.0077), (18_000, 0.03)])], log_x=True),
        line_chart("t", "x", "y", [Line(name="a", points=[(7_900, 1), (8_000, 2), (9e5, 3)])], log_x=True),
        interval_chart(
            "t", [Mark(name="LightGBM's quantiles, shuffled outcomes", value=0.5, low=-0.17, high=0.577)]
        ),
        interval_chart("t", [Mark(name="a", value=1e-5, low=-1e-5, high=3e-5)]),
    ],
    ids=["reliability", "sizes", "sizes close together", "long name", "small figures"],
)
def test_no_text_is_cut_off_or_stands_on_another(chart):
    width = float(ElementTree.fromstring(chart).attrib["width"])
    found = texts(chart)
    for left, right, _, text in found:
        assert 0 <= left < right <= width, text
    for (l1, r1, y1, one), (l2, r2, y2, two) in itertools.combinations(found, 2):
        assert abs(y1 - y2) > 8 or r1 <= l2 or r2 <= l1, f"{one} and {two}"


def test_scales_are_told_in_round_figures_that_hold_all_that_is_drawn():
    line = Line(name="a", points=[(0.0, -0.0077), (1.0, 0.131)], spans=[(-0.02, 0.03), (0.1, 0.19)])
    told = [text for _, _, _, text in texts(line_chart("t", "x", "y", [line]))]
    assert [text for text in told if text.count(".") and text.startswith("0.0")] == ["0.00", "0.05", "0.0"]
    assert {"-0.05", "0.10", "0.15", "0.20"} < set(told)


def test_intervals_at_one_place_stand_beside_one_another():
    lines = [Line(name=name, points=[(1, 1), (2, 1)], spans=[(0, 2), (0, 2)]) for name in "ab"]
    places = {x for x, _ in dots(line_chart("t", "x", "y", lines))}
    assert len(places) == 4
