"""Learning curves of runs of train.py: `python adapters/custom_loop/curves.py GRPO=run0 MRT=run1 --out curves.svg`.

Runs with the same label are seeds of one thing: each is a thin line, and their running mean is the thick one. All are
drawn up to the step that all have reached. Prints the same as a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

PANELS = {
    "mrt/outcome/mean": "accuracy",
    "response_length/mean": "tokens per trace",
    "mrt/progress/waste_share": "waste: progress below {threshold:g}",
    "mrt/regret": "normalised regret (lower is better)",
}
WINDOW = 5
"""Steps of the running mean, and at either end of a run in the table."""

Log = list[dict[str, float]]
Curves = Mapping[str, NDArray[np.float64]]
"""For each panel, values by run and step; NaN where a step measured none."""


def read(folder: Path) -> Log:
    """Steps of a run, the first one first."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def curves_of(logs: Sequence[Log], num_steps: int) -> Curves:
    """Runs of one label, up to a step that all of them have reached."""
    return {
        name: np.array([[float(entry.get(name, np.nan)) for entry in log[:num_steps]] for log in logs])
        for name in PANELS
    }


def mean(values: NDArray[np.float64]) -> float:
    """Of what was measured; NaN where nothing was."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over all runs of each step and up to `WINDOW - 1` before it."""
    return np.array([mean(values[:, max(0, end - WINDOW) : end]) for end in range(1, values.shape[1] + 1)])


def draw(runs: Mapping[str, Curves], threshold: float) -> Figure:
    """One panel for each measure, two in a row, so that they can be read on a narrow screen as well."""
    several = any(len(next(iter(curves.values()))) > 1 for curves in runs.values())
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for number, (label, curves) in enumerate(runs.items()):
            steps = range(1, curves[name].shape[1] + 1)
            for values in curves[name]:
                axes.plot(steps, values, color=f"C{number}", linewidth=0.8, alpha=0.35)
            axes.plot(steps, running_mean(curves[name]), color=f"C{number}", linewidth=2.2, label=label)
        axes.set_title(title.format(threshold=threshold), fontsize=10)
        axes.set_xlabel("optimiser step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    title = "thick: running mean; thin: single runs" if several else None
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, title=title)
    return figure


def table(runs: Mapping[str, Curves], threshold: float) -> str:
    """The first and the last steps of each label, as Markdown."""
    head = [f"{label}, {when} {WINDOW} steps" for when in ("first", "last") for label in runs]
    lines = [f"| | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for name, title in PANELS.items():
        parts = (curves[name][:, cut] for cut in (slice(WINDOW), slice(-WINDOW, None)) for curves in runs.values())
        lines.append(f"| {title.format(threshold=threshold)} | {' | '.join(f'{mean(part):.3g}' for part in parts)} |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Draw learning curves of runs of train.py.")
    parser.add_argument("runs", nargs="+", metavar="LABEL=FOLDER", help="a run; the same label again is another seed")
    parser.add_argument("--out", type=Path, default=Path("curves.svg"), help="SVG to write (default: %(default)s)")
    given = parser.parse_args()
    logs: dict[str, list[Log]] = {}
    for word in given.runs:
        label, equals, folder = word.partition("=")
        if not equals or not (Path(folder) / "log.jsonl").is_file():
            parser.error(f"expected LABEL=FOLDER with a log.jsonl in the folder, got {word!r}")
        logs.setdefault(label, []).append(read(Path(folder)))
    thresholds = {entry["mrt/waste_threshold"] for runs in logs.values() for log in runs for entry in log}
    if len(thresholds) != 1:
        parser.error(f"expected runs that count waste below one threshold, got {sorted(thresholds)}")
    [threshold] = thresholds
    num_steps = min(len(log) for runs in logs.values() for log in runs)
    curves = {label: curves_of(runs, num_steps) for label, runs in logs.items()}
    # The same runs draw the same file.
    with mpl.rc_context({"svg.hashsalt": "mrt-reward", "svg.fonttype": "none"}):
        draw(curves, threshold).savefig(given.out, metadata={"Date": None})
    print(table(curves, threshold))


if __name__ == "__main__":
    main()
