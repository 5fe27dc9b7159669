"""`mrt-reward report`: files of results in, a report out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrt_reward.cli.flags import flag
from mrt_reward.cli.invocation import this_call
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.folder import RESULTS
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.report import ReportSpec, make_report
from mrt_reward.evaluation.summary import TARGETS as DEFAULT_TARGETS

BUDGETS: Any = typer.Option(
    "--budget",
    help="Budget for accuracy and regret, in tokens; repeatable. [default: three powers of two, by length]",
    show_default=False,
)
SIZES: Any = typer.Option("--votes", help="k of a majority vote; repeatable. [default: 1, 2, 4, 8]", show_default=False)
WEIGHTED: Any = typer.Option(
    "--weighted-votes",
    help="Count each vote 2^(mean log-probability of its answer), as the authors do, instead of once.",
)
TARGETS: Any = typer.Option(
    "--target", help="Accuracy to be reached; repeatable. [default: 0.5 to 0.9 by 0.1]", show_default=False
)


def lens_of(
    budgets: Sequence[float] | None, sizes: Sequence[int] | None, waste_threshold: float, *, weighted: bool
) -> Lens:
    """How traces are looked at.

    Raises:
        ConfigError: a flag is out of its range.

    """
    try:
        return Lens(
            tuple(budgets or ()),
            tuple(sorted({1, *(sizes or (2, 4, 8))})),
            weighted=weighted,
            waste_threshold=waste_threshold,
        )
    except ValueError as error:
        raise ConfigError(f"--budget, --votes, --waste-threshold: {error}") from error


def report(
    sources: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders of `evaluate`, or JSONL files of `evaluate` or `score`.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", file_okay=False, help="Folder to write. [default: the first one]")
    ] = None,
    budgets: Annotated[list[float] | None, BUDGETS] = None,
    votes: Annotated[list[int] | None, SIZES] = None,
    weighted_votes: Annotated[bool, WEIGHTED] = False,
    targets: Annotated[list[float] | None, TARGETS] = None,
    waste_threshold: Annotated[float, flag(Lens, "waste_threshold")] = Lens().waste_threshold,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling of problems.")] = 0,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw SVG and PNG files; needs the extra `eval`.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Traces to show in full in report.html.")] = 120,
) -> None:
    """Make summary.json, report.md, report.html and figures from results that are there already."""
    first = sources[0]
    folder = output or (first if first.is_dir() else first.parent)
    lens = lens_of(budgets, votes, waste_threshold, weighted=weighted_votes)
    reached = tuple(targets or DEFAULT_TARGETS)
    build(sources, folder, ReportSpec(lens, tuple(budgets or ()), reached, seed, examples, figures, this_call()))


def build(sources: Sequence[Path], folder: Path, spec: ReportSpec) -> None:
    """Read results and write the report, with a bar."""
    console = Console(stderr=True)
    paths = [source / RESULTS if source.is_dir() else source for source in sources]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f"{missing[0]} is not there: run `mrt-reward evaluate` first", param="sources")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("report", total=sum(path.stat().st_size for path in paths))
        written = make_report(paths, folder, spec, lambda num_bytes: progress.update(task, completed=num_bytes))
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
