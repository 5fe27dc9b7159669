"""`python -m tests.study`: make the runs of a stage, and report on all that are done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, cast, get_args

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.mini.bundled import MINI_DEEP
from mrt_reward.server.telemetry import configure_logs
from tests.study.comparing import read_runs
from tests.study.report import draw, page
from tests.study.runs import LEARNING_RATE, RunSpec
from tests.study.runs import run as carry_out
from tests.study.stages import specs, stage_of
from tests.study.values import Source, ValueSpec

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

RUNS = Path(__file__).parent / "runs"

Runs = Annotated[
    Path, typer.Option(help="Folder of the runs' files, one folder in it for each stage.", file_okay=False)
]
Stages = Annotated[str, typer.Option("--stage", help="quick, one, long or short.")]


@app.command()
def run(  # noqa: PLR0913, PLR0917 - options of a command
    stage: Stages = "quick",
    policy: Annotated[
        Path, typer.Option(help="Model folder that is trained; also the prover.", exists=True)
    ] = MINI_DEEP.folder,
    values: Annotated[str, typer.Option(help="revealed, likelihood, answers or coupled.")] = "likelihood",
    answers: Annotated[int, typer.Option(min=1, help="K answers of a prefix, where values are answers.")] = 4,
    following: Annotated[bool, typer.Option("--following", help="Whether the prover follows the policy.")] = False,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Only these seeds.")] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of AdamW.")] = LEARNING_RATE,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    out: Runs = RUNS,
) -> None:
    """Make the runs of a stage; say the same again after a kill, and it goes on."""
    torch.set_num_threads(threads)
    configure_logs("off")
    try:
        spec = ValueSpec(_source(values), answers, policy, following)
        planned = specs(
            stage_of(stage), policy, spec, arms=tuple(arm or ()), seeds=tuple(seed or ()), learning_rate=learning_rate
        )
        asyncio.run(_carry_out(planned, out / stage))
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error


async def _carry_out(planned: list[RunSpec], out: Path) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=sum(spec.num_steps for spec in planned))
        before = 0
        for spec in planned:

            def told(step: int, spec: RunSpec = spec, before: int = before) -> None:
                progress.update(task, description=spec.name, completed=before + step)

            await carry_out(spec, out, told)
            before += spec.num_steps


def _source(name: str) -> Source:
    known = get_args(Source)
    if name not in known:
        raise ConfigError(f"values {name!r}: expected one of {', '.join(known)}", param="values")
    return cast("Source", name)


@app.command()
def names(stage: Stages = "quick") -> None:
    """Arm and seed of each run of a stage, a line each, for scripts that make several at once."""
    try:
        chosen = stage_of(stage)
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    for seed in chosen.seeds:
        for arm in chosen.arms:
            typer.echo(f"{arm} {seed}")


@app.command()
def report(
    stage: Stages = "quick",
    out: Runs = RUNS,
    figure: Annotated[Path | None, typer.Option(help="SVG to write.", dir_okay=False)] = None,
) -> None:
    """Tables of the runs of a stage that are done, in Markdown, and their curves."""
    try:
        stage_of(stage)
        finished = read_runs(out / stage)
        told = page(finished)
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    if figure is not None:
        draw(finished, figure)
    typer.echo(told, nl=False)


if __name__ == "__main__":
    app()
