"""Squared error of progress against answer tokens, both logarithmic; needs matplotlib (extra `eval`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.estimators import EstimatorError
from mrt_reward.evaluation.figures import COLOURS, DASHES, SHAPES, figure_of, plain
from mrt_reward.evaluation.line_up import family
from mrt_reward.files import replacing

INCHES = (5.6, 3.8)


def check_figure(path: Path) -> str:
    """The kind of file that a figure becomes, `svg` or `png`.

    Raises:
        ConfigError: of another ending, or matplotlib is not installed.

    """
    kind = path.suffix[1:]
    if kind not in ("svg", "png"):
        raise ConfigError(f"--figure {path}: expected a name that ends in .svg or .png", param="figure")
    figure_of(INCHES)
    return kind


def save_errors(errors: Sequence[EstimatorError], reference: str, path: Path) -> None:
    """Write the figure; estimators that draw nothing are lines across it.

    Args:
        errors: of all estimators; those whose names differ in a number alone are one series.
        reference: what counts as the truth.
        path: of the file, `.svg` or `.png`.

    Raises:
        ConfigError: of another ending, or matplotlib is not installed.

    """
    kind = check_figure(path)
    figure = figure_of(INCHES)
    axes = figure.subplots()
    series: dict[str, list[EstimatorError]] = {}
    for each in errors:
        if each.progress.value:
            series.setdefault(family(each.name), []).append(each)
    for index, (name, members) in enumerate(series.items()):
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
        drawn = sorted((each for each in members if each.answer_tokens > 0), key=lambda each: each.answer_tokens)
        if not drawn:
            axes.axhline(members[0].progress.value, label=f"{plain(name)}, no answers drawn", linewidth=1, **style)
            continue
        y = [each.progress.value or 0.0 for each in drawn]
        reach = [
            [at - (at if each.progress.low is None else each.progress.low) for at, each in zip(y, drawn, strict=True)],
            [
                (at if each.progress.high is None else each.progress.high) - at
                for at, each in zip(y, drawn, strict=True)
            ],
        ]
        # Series that spend the same are moved apart, so that their whiskers do not lie on each other.
        x = [each.answer_tokens * 1.03**index for each in drawn]
        axes.errorbar(x, y, reach, marker=SHAPES[index % len(SHAPES)], capsize=2, label=plain(name), **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("answer tokens a trace")
    axes.set_ylabel(f"squared error of progress, against {plain(reference)}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="both", alpha=0.2)
    if series:
        axes.legend(frameon=False, fontsize=8)
    with replacing(path) as scratch:
        figure.savefig(scratch, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
