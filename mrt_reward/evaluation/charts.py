"""What a chart shows, whatever draws it: `svg` in the page, `figures` as files for papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NUM_STYLES = 6
"""Colours, dashes and markers that tell series apart; a seventh series looks like the first."""

BAR_SHARE = 0.8
"""Of the room between two bars' centres that the bars of all series take together."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point with its 95 % interval; a point whose y is None is not drawn."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour, dash and marker.

    Attributes:
        name: in the legend.
        marks: in the order of x.

    """

    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart is drawn on.

    Attributes:
        title: of the whole chart, for screen readers.
        x_label: with its unit.
        y_label: with its unit.
        log: whether x is logarithmic.
        zero: whether to draw a line at y = 0.
        categories: names of x = 0, 1, …, instead of numbers.
        percent: whether y, a share in [0, 1], is written as a percentage.

    """

    title: str
    x_label: str
    y_label: str
    log: bool = False
    zero: bool = False
    categories: Sequence[str] = ()
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        kind: lines with bands, dots with whiskers, or bars with whiskers, whose x are equally far apart.
        axes: what it is drawn on.
        series: side by side, in the order of the legend; those without a point are left out.

    """

    kind: Literal["lines", "dots", "bars"]
    axes: Axes
    series: tuple[Series, ...]

    @property
    def drawn(self) -> list[tuple[int, Series]]:
        """Style, 0 to `NUM_STYLES` - 1, and points of each series that has a point."""
        return [
            (index % NUM_STYLES, one)
            for index, one in enumerate(self.series)
            if any(mark.y is not None for mark in one.marks)
        ]

    @property
    def bar_width(self) -> float:
        """Of one bar, in units of x."""
        x = sorted({mark.x for _, one in self.drawn for mark in one.marks})
        return BAR_SHARE * (x[1] - x[0] if len(x) > 1 else 1.0) / max(len(self.drawn), 1)

    def shifts(self) -> list[float]:
        """How far each drawn series lies beside its x, so that whiskers and bars do not cover each other."""
        num = len(self.drawn)
        step = {"lines": 0.0, "dots": min(0.16, 0.7 / max(num, 1)), "bars": self.bar_width}[self.kind]
        return [(index - (num - 1) / 2) * step for index in range(num)]

    def written_x(self, x: float) -> str:
        """A point's x as a reader wants it."""
        return self.axes.categories[round(x)] if self.axes.categories else f"{x:,.4g}" if x < 1000 else f"{x:,.0f}"

    def written_y(self, y: float) -> str:
        """A point's y, or an end of its interval."""
        return f"{100 * y:.3g} %" if self.axes.percent else f"{y:.3g}"
