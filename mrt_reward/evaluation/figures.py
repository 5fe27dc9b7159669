"""A report's curves as SVG and PNG for papers; needs matplotlib (extra `eval`).

Colours are Okabe and Ito's, and dashes tell the models apart without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.panels import QUARTERS, THIRDS, X_TOKENS, mark, marks
from mrt_reward.evaluation.summary import Summary
from mrt_reward.evaluation.svg import Mark
from mrt_reward.files import replacing
from mrt_reward.install import install_command

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (10, 3)), (0, (1, 1)))
SHAPES = ("o", "s", "^", "D", "v", "P")
INCHES = (4.2, 2.9)

Lines = Sequence[tuple[str, Sequence[Mark]]]


def save_figures(summary: Summary, folder: Path) -> list[Path]:
    """Write each figure twice, as SVG and as PNG.

    Returns:
        The files written.

    Raises:
        ConfigError: matplotlib is not installed, or the folder cannot be written.

    """
    written: list[Path] = []

    def save(name: str, draw: Callable[[Any], None]) -> None:
        figure = figure_of(INCHES)
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        for kind in ("svg", "png"):
            path = folder / f"{name}.{kind}"
            with replacing(path) as scratch:
                figure.savefig(scratch, dpi=200, format=kind)
            written.append(path)

    for name, title in (("accuracy", "accuracy"), ("regret", "normalised regret"),
                        ("extended_accuracy", "accuracy, forced on")):  # fmt: skip
        lines = [(model.name, marks(model.curves.get(name))) for model in summary.models]
        if any(points for _, points in lines):
            save(name, lambda axes, lines=lines, title=title: _lines(axes, lines, title))
    for place, model in enumerate(summary.models):
        names = sorted((name for name in model.curves if name.startswith("maj@")), key=lambda name: int(name[4:]))
        if names:
            lines = [
                ("maj@1", marks(model.curves.get("accuracy"))),
                *((name, marks(model.curves[name])) for name in names),
                *((f"{each.name}, direct", marks(each.votes)) for each in summary.direct),
            ]
            save(f"votes-{place + 1}", lambda axes, lines=lines: _lines(axes, lines, "accuracy"))
    if summary.advantages:
        gained = [
            (f"{each.model} - {each.direct}, direct", marks(each.curves.get("accuracy"))) for each in summary.advantages
        ]
        save("direct", lambda axes: _lines(axes, gained, "thinking minus direct votes"))
    if all(model.terciles for model in summary.models):
        needless = [
            (model.name, [mark(x, model.terciles[third]["needless"]) for x, third in enumerate(THIRDS)])
            for model in summary.models
        ]
        save("frugal", lambda axes: _dots(axes, needless, THIRDS, "share of thinking after it was solved"))
        late = [(model.name, marks(model.curves.get("hard:quarters"))) for model in summary.models]
        save("advancing", lambda axes: _dots(axes, late, QUARTERS, "progress on hard problems"))
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


def _known(points: Sequence[Mark]) -> list[Mark]:
    return [point for point in points if point.y is not None]


def _lines(axes: Any, lines: Lines, title: str) -> None:  # noqa: ANN401 - matplotlib's own
    for place, (name, points) in enumerate(lines):
        known, style = _known(points), place % len(COLOURS)
        x = [point.x for point in known]
        axes.plot(x, [point.y for point in known], color=COLOURS[style], linestyle=DASHES[style], label=plain(name))
        low, high = (np.array([np.nan if end is None else end for end in ends], np.float64) for ends in
                     ([point.low for point in known], [point.high for point in known]))  # fmt: skip
        axes.fill_between(x, low, high, color=COLOURS[style], alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(X_TOKENS)
    axes.set_ylabel(title)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def _dots(axes: Any, lines: Lines, categories: Sequence[str], title: str) -> None:  # noqa: ANN401 - matplotlib's own
    for place, (name, points) in enumerate(lines):
        shift = (place - (len(lines) - 1) / 2) * 0.16
        for index, point in enumerate(points):
            if point.y is None:
                continue
            reach = [[point.y - (point.y if point.low is None else point.low)],
                     [(point.y if point.high is None else point.high) - point.y]]  # fmt: skip
            style = place % len(COLOURS)
            label = plain(name) if index == 0 else None
            axes.errorbar([index + shift], [point.y], yerr=reach, fmt=SHAPES[style], color=COLOURS[style], label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(categories)), categories)
    axes.set_ylabel(title)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def plain(name: str) -> str:
    """A name that matplotlib takes for no formula, and not for an entry to leave out of the legend."""
    return name.replace("$", r"\$").lstrip("_")[:60]
