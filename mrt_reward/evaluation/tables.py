"""A table of a report, whatever writes it: `markdown` or `page`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.charts import Chart
from mrt_reward.evaluation.words import interval_of, word_of, written


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; all of it is plain text.

    Attributes:
        text: the number, or whatever stands there.
        interval: in brackets, and what else belongs to the number; may be empty.
        rests_on: problems and traces behind the number.
        verdict: of a difference whose interval leaves zero out: which way, or that neither way is better.

    """

    text: str
    interval: str = ""
    rests_on: str = ""
    verdict: Literal["", "better", "worse", "neither"] = ""

    def __str__(self) -> str:
        """Text and interval."""
        return f"{self.text} {self.interval}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        title: its first cell.
        cells: the others.
        meaning: of the title, in a sentence; may be empty.

    """

    title: str
    cells: tuple[Cell, ...]
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal length below a head, which names all cells but the first."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]


def estimate_cell(estimate: Estimate | None, metric: str, *, signed: bool = False) -> Cell:
    """A metric of one model, or the difference of two where it is signed."""
    if estimate is None or estimate.value is None:
        return Cell("-")
    word = word_of(metric)
    is_sure = signed and estimate.low is not None and estimate.high is not None and estimate.low * estimate.high > 0
    return Cell(
        written(estimate.value, word.shape, signed=signed),
        interval_of(estimate, word.shape, signed=signed),
        f"{estimate.problems} problems, {estimate.traces} traces",
        _verdict(estimate.value, word.better) if is_sure else "",
    )


def _verdict(value: float, better: Literal["up", "down", ""]) -> Literal["better", "worse", "neither"]:
    if not better:
        return "neither"
    return "better" if (value > 0) == (better == "up") else "worse"


def chart_table(chart: Chart) -> Table:
    """A chart's numbers, for readers who cannot see it or want to copy them."""
    rows = [
        Row(one.name, (Cell(chart.written_x(mark.x)), Cell(f"{mark.y:.4g}"), Cell(_span(mark.low, mark.high))))
        for _, one in chart.drawn
        for mark in one.marks
        if mark.y is not None
    ]
    return Table((chart.axes.x_label, chart.axes.y_label, "95 % interval"), tuple(rows))


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
