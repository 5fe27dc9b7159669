"""A report's charts as SVG and PNG for papers; needs matplotlib (extra `eval`).

Colours are Okabe and Ito's, and dashes tell the models apart without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.progress import nan_array
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.charts import Chart, Mark
from mrt_reward.evaluation.panels import all_panels
from mrt_reward.evaluation.summary import Summary
from mrt_reward.files import replacing
from mrt_reward.install import install_command

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (10, 3)), (0, (1, 1)))
SHAPES = ("o", "s", "^", "D", "v", "P")
INCHES = (4.2, 2.9)

Floats = NDArray[np.float64]


def save_figures(summary: Summary, folder: Path) -> list[Path]:
    """Write each chart of the report twice, as SVG and as PNG.

    Returns:
        The files written, named after the panels.

    Raises:
        ConfigError: matplotlib is not installed, or the folder cannot be written.

    """
    written: list[Path] = []
    for panel in all_panels(summary):
        figure = figure_of(INCHES)
        draw(panel.chart, figure.subplots())
        for kind in ("svg", "png"):
            path = folder / f"{panel.name}.{kind}"
            with replacing(path) as scratch:
                figure.savefig(scratch, dpi=200, format=kind)
            written.append(path)
    return written


def figure_of(inches: tuple[float, float]) -> Any:  # noqa: ANN401 - matplotlib's own
    """An empty figure.

    Raises:
        ConfigError: matplotlib is not installed.

    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(f"figures need matplotlib ({error}): {install_command('eval')}") from error
    return Figure(figsize=inches, layout="constrained")


def _formatter(chart: Chart) -> Callable[[float, int], str]:
    def written(y: float, _index: int) -> str:
        return chart.written_y(y)

    return written


def draw(chart: Chart, axes: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """The chart on matplotlib's axes."""
    for (style, one), shift in zip(chart.drawn, chart.shifts(), strict=True):
        known = [Mark(mark.x + shift, mark.y, mark.low, mark.high) for mark in one.marks if mark.y is not None]
        look = {"color": COLOURS[style], "label": plain(one.name)}
        match chart.kind:
            case "lines":
                axes.plot(_x(known), _y(known), linestyle=DASHES[style], **look)
                axes.fill_between(_x(known), *_ends(known), color=COLOURS[style], alpha=0.15, linewidth=0)
            case "dots":
                axes.errorbar(_x(known), _y(known), yerr=_reach(known), fmt=SHAPES[style], **look)
            case "bars":
                whiskers = {"ecolor": "0.3", "error_kw": {"elinewidth": 0.8}}
                axes.bar(_x(known), _y(known), chart.bar_width, yerr=_reach(known), **whiskers, **look)
    if chart.axes.zero:
        axes.axhline(0, color="black", linewidth=0.8)
    if chart.axes.categories:
        axes.set_xticks(range(len(chart.axes.categories)), chart.axes.categories)
    if chart.axes.log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    if chart.axes.percent:
        axes.yaxis.set_major_formatter(_formatter(chart))
    axes.set_xlabel(chart.axes.x_label)
    axes.set_ylabel(chart.axes.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if len(chart.drawn) > 1:
        axes.legend(frameon=False, fontsize=8)


def _x(marks: Sequence[Mark]) -> list[float]:
    return [mark.x for mark in marks]


def _y(marks: Sequence[Mark]) -> Floats:
    return nan_array([mark.y for mark in marks])


def _ends(marks: Sequence[Mark]) -> tuple[Floats, Floats]:
    """Lower and upper ends of the intervals; NaN where there is none."""
    return nan_array([mark.low for mark in marks]), nan_array([mark.high for mark in marks])


def _reach(marks: Sequence[Mark]) -> Floats:
    """How far whiskers reach below and above each point; 0 where there is no interval."""
    low, high = _ends(marks)
    return np.nan_to_num(np.stack([_y(marks) - low, high - _y(marks)]).clip(min=0.0))


def plain(name: str) -> str:
    """A name that matplotlib takes for no formula, and not for an entry to leave out of the legend."""
    return name.replace("$", r"\$").lstrip("_")[:60]
