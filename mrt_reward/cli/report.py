"""`mrt-reward report`: files of results in, a report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.flags import flag, with_settings
from mrt_reward.cli.invocation import this_call
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.folder import RESULTS
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.provenance import Invocation
from mrt_reward.evaluation.report import ReportSpec, read_report, write_report
from mrt_reward.evaluation.summarising import TARGETS as DEFAULT_TARGETS
from mrt_reward.evaluation.words import headline


@dataclass(frozen=True, slots=True)
class ReportFlags:
    """How traces are looked at, for `report` and `evaluate`."""

    budgets: Annotated[
        list[float] | None,
        typer.Option(
            "--budget",
            help="Budget for accuracy and regret, in tokens; repeatable. [default: three powers of two, by length]",
            show_default=False,
        ),
    ] = None
    votes: Annotated[
        list[int] | None,
        typer.Option("--votes", help="k of a majority vote; repeatable. [default: 1, 2, 4, 8]", show_default=False),
    ] = None
    weighted_votes: Annotated[
        bool,
        typer.Option(
            "--weighted-votes",
            help="Count each vote 2^(mean log-probability of its answer), as the authors do, instead of once.",
        ),
    ] = False
    targets: Annotated[
        list[float] | None,
        typer.Option(
            "--target", help="Accuracy to be reached; repeatable. [default: 0.5 to 0.9 by 0.1]", show_default=False
        ),
    ] = None
    waste_threshold: Annotated[float, flag(Lens, "waste_threshold")] = Lens().waste_threshold

    def spec(self, seed: int, made: Invocation) -> ReportSpec:
        """What to report, by the call that is `made`.

        Raises:
            ConfigError: a flag is out of its range.

        """
        budgets, sizes = tuple(self.budgets or ()), tuple(sorted({1, *(self.votes or (2, 4, 8))}))
        try:
            lens = Lens(budgets, sizes, weighted=self.weighted_votes, waste_threshold=self.waste_threshold)
        except ValueError as error:
            raise ConfigError(f"--budget, --votes, --waste-threshold: {error}") from error
        return ReportSpec(lens, budgets, tuple(self.targets or DEFAULT_TARGETS), seed, made=made)


@with_settings()
def report(
    sources: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders of `evaluate`, or JSONL files of `evaluate` or `score`.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", file_okay=False, help="Folder to write. [default: the first one]")
    ] = None,
    *,
    flags: ReportFlags,
    seed: Annotated[int, typer.Option(min=0, help="Seed for resampling problems.")] = 0,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw SVG and PNG files; needs the extra `eval`.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Traces to show in full in report.html.")] = 120,
) -> None:
    """Make summary.json, report.md, report.html and figures from results that are there already."""
    first = sources[0]
    folder = output or (first if first.is_dir() else first.parent)
    build(sources, folder, replace(flags.spec(seed, this_call()), num_examples=examples, figures=figures))


def build(sources: Sequence[Path], folder: Path, spec: ReportSpec) -> None:
    """Read results and write the report, with a bar."""
    console = Console(stderr=True)
    paths = [source / RESULTS if source.is_dir() else source for source in sources]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(f"{missing[0]} is not there: run `mrt-reward evaluate` first", param="sources")
    with bar(console, of_bytes=True) as progress:
        num_all = sum(path.stat().st_size for path in paths)
        task = progress.add_task("report", total=num_all)
        found = read_report(paths, spec, lambda num_bytes: progress.update(task, completed=num_bytes))
        written = write_report(found, folder, spec)
        # What was not reported by then are lines that count for nothing, such as those that failed.
        progress.update(task, completed=num_all)
    for model in found.summary.models:
        console.print(headline(model), highlight=False, markup=False, soft_wrap=True)
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
