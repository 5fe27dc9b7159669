from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from mrt_reward.evaluation.charts import Axes, Chart, Mark, Series
from mrt_reward.evaluation.svg import LEFT, RIGHT, WIDTH, inline_svg

HOSTILE = '</svg><script>alert("1")</script>'
AXES = Axes(HOSTILE, "tokens", "accuracy", log=True, percent=True)


def readings(svg: str) -> list[dict[str, Any]]:
    found = re.search(r'data-readings="([^"]*)"', svg)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_what_there_is_to_read_at_each_x_is_in_the_chart() -> None:
    one = Series("one", [Mark(64.0, 0.25, 0.2, 0.3), Mark(256.0, 0.5)])
    two = Series("two", [Mark(64.0, 0.75), Mark(128.0, None)])
    assert readings(inline_svg(Chart("lines", AXES, (one, two)))) == [
        {"x": LEFT, "at": "64", "lines": [[0, "one: 25 % [20 %, 30 %]"], [1, "two: 75 %"]]},
        {"x": WIDTH - RIGHT, "at": "256", "lines": [[0, "one: 50 %"]]},
    ]
    # A single series needs no name.
    assert readings(inline_svg(Chart("dots", AXES, (two,))))[0]["lines"] == [[0, "75 %"]]


def test_a_curve_and_its_band_end_with_their_points() -> None:
    svg = inline_svg(Chart("lines", AXES, (Series("a", [Mark(64.0, 0.2, 0.1, 0.3), Mark(128.0, 0.4, 0.3, 0.5)]),)))
    [line] = re.findall(r'<polyline[^>]*points="([^"]*)"', svg)
    [band] = re.findall(r'<polygon[^>]*points="([^"]*)"', svg)
    assert [len(points.split()) for points in (line, band)] == [2, 4]


def test_bars_have_a_whisker_each_and_no_bar_for_a_missing_point() -> None:
    bins = Series("a", [Mark(0.0, 0.5, 0.4, 0.6), Mark(0.1, None), Mark(0.2, 0.5, 0.4, 0.6)])
    svg = inline_svg(Chart("bars", Axes("t", "x", "y", zero=True), (bins,)))
    assert (svg.count("<rect"), svg.count('class="whisker"')) == (2, 2)


def test_names_cannot_leave_the_chart() -> None:
    svg = inline_svg(Chart("lines", AXES, (Series(HOSTILE, [Mark(64.0, 0.2)]), Series("b", [Mark(64.0, 0.2)]))))
    assert "<script" not in svg
    assert readings(svg)[0]["lines"][0][1] == f"{HOSTILE}: 20 %"


def test_there_is_no_chart_without_a_point() -> None:
    assert inline_svg(Chart("lines", AXES, (Series("a", [Mark(64.0, None)]),))) == ""
