from __future__ import annotations

import pytest

from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.charts import Axes, Chart, Mark, Series
from mrt_reward.evaluation.tables import Cell, Row, chart_table, estimate_cell


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("final", 0.1, 0.3, "better"),
        ("final", -0.3, -0.1, "worse"),
        ("tokens", 1.0, 3.0, "worse"),
        ("episodes", 1.0, 3.0, "neither"),
        ("final", -0.1, 0.3, ""),
        ("final", None, None, ""),
    ],
)
def test_a_difference_is_judged_where_its_interval_leaves_zero_out(
    metric: str, low: float | None, high: float | None, verdict: str
) -> None:
    value = 0.0 if low is None or high is None else (low + high) / 2
    difference = Estimate(value, low, high, 3, 12)
    assert estimate_cell(difference, metric, signed=True).verdict == verdict
    # A number that is no difference is neither better nor worse.
    assert estimate_cell(difference, metric).verdict == ""


def test_a_cell_has_its_interval_and_what_it_rests_on() -> None:
    cell = estimate_cell(Estimate(0.25, 0.125, 0.375, 3, 12), "final", signed=True)
    assert (str(cell), cell.rests_on) == ("+0.250 [+0.125, +0.375]", "3 problems, 12 traces")
    assert estimate_cell(None, "final") == estimate_cell(Estimate(None, None, None, 0, 0), "final") == Cell("-")


def test_a_charts_numbers_are_a_table() -> None:
    series = Series("a", [Mark(64.0, 0.5, 0.25, 0.75), Mark(128.0, None), Mark(256.0, 0.75)])
    table = chart_table(Chart("lines", Axes("t", "tokens", "accuracy"), (series,)))
    assert table.head == ("tokens", "accuracy", "95 % interval")
    assert table.rows == (
        Row("a", (Cell("64"), Cell("0.5"), Cell("0.25 to 0.75"))),
        Row("a", (Cell("256"), Cell("0.75"), Cell(""))),
    )
