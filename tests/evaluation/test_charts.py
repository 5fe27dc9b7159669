from __future__ import annotations

import pytest

from mrt_reward.evaluation.charts import Axes, Chart, Mark, Series

AXES = Axes("title", "x", "y", percent=True)


def test_series_without_a_point_are_left_out_and_the_others_keep_their_style() -> None:
    chart = Chart("lines", AXES, (Series("a", [Mark(1, None)]), Series("b", [Mark(1, 0.5)])))
    assert [(style, one.name) for style, one in chart.drawn] == [(1, "b")]
    assert Chart("lines", AXES, ()).drawn == []


def test_dots_and_bars_of_several_series_lie_side_by_side_around_their_x() -> None:
    two = tuple(Series(name, [Mark(0.0, 0.1), Mark(0.1, 0.2)]) for name in "ab")
    # Two bars share 0.8 of the 0.1 between centres: 0.04 each, 0.02 to either side.
    assert Chart("bars", AXES, two).bar_width == pytest.approx(0.04)
    assert Chart("bars", AXES, two).shifts() == pytest.approx([-0.02, 0.02])
    assert Chart("dots", AXES, two).shifts() == pytest.approx([-0.08, 0.08])
    assert Chart("lines", AXES, two).shifts() == [0.0, 0.0]


def test_numbers_are_written_as_the_axes_say() -> None:
    chart = Chart("lines", AXES, ())
    assert (chart.written_y(0.8731), chart.written_x(12.345), chart.written_x(16384.0)) == ("87.3 %", "12.35", "16,384")
    named = Chart("dots", Axes("t", "x", "y", categories=("hard", "easy")), ())
    assert (named.written_y(0.8731), named.written_x(1.0)) == ("0.873", "easy")
