"""`python -m tests.study`: make the runs of a stage, and report on all that are done."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, cast, get_args

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.mini.bundled import MINI_DEEP
from mrt_reward.mini.charts import REGIMES
from mrt_reward.server.telemetry import configure_logs
from tests.study import bounds as searchers
from tests.study import evaluating as evaluation
from tests.study import signal as signals
from tests.study.arms import ARMS, AUDITED, arm_of
from tests.study.comparing import read_runs
from tests.study.evaluating import FINAL, Evaluation, Size
from tests.study.report import draw, page
from tests.study.runs import LEARNING_RATE, RunSpec, digest, new_loop
from tests.study.runs import run as carry_out
from tests.study.stages import STAGES, specs, stage_of
from tests.study.values import Source, ValueSpec

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

RUNS, SIGNALS = Path(__file__).parent / "runs", Path(__file__).parent / "signals"

Runs = Annotated[
    Path, typer.Option(help="Folder of the runs' files, one folder in it for each stage.", file_okay=False)
]
Values = Annotated[str, typer.Option(help="revealed, likelihood, answers, coupled or posterior.")]
Answers = Annotated[int, typer.Option(min=1, help="K answers of a prefix, where values are answers.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Stages = Annotated[str, typer.Option("--stage", help=f"One of {', '.join(STAGES)}.")]


@app.command()
def run(  # noqa: PLR0913, PLR0917 - options of a command
    stage: Stages = "quick",
    policy: Annotated[
        Path, typer.Option(help="Model folder that is trained; also the prover.", exists=True)
    ] = MINI_DEEP.folder,
    values: Values = "likelihood",
    answers: Answers = 4,
    following: Annotated[bool, typer.Option("--following", help="Whether the prover follows the policy.")] = False,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Only these seeds.")] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of AdamW.")] = LEARNING_RATE,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="Steps until it is reached.", show_default="the stage's")
    ] = None,
    decay: Annotated[
        bool, typer.Option("--decay", help="Whether it then falls to 0, also where the stage's does not.")
    ] = False,
    threads: Threads = 2,
    out: Runs = RUNS,
) -> None:
    """Make the runs of a stage; say the same again after a kill, and it goes on."""
    torch.set_num_threads(threads)
    configure_logs("off")
    try:
        spec = ValueSpec(_source(values), answers, policy, following)
        planned = specs(
            stage_of(stage),
            policy,
            spec,
            arms=tuple(arm or ()),
            seeds=tuple(seed or ()),
            learning_rate=learning_rate,
            **({} if warmup is None else {"warmup_steps": warmup}),
            **({"decay": True} if decay else {}),
        )
        asyncio.run(_carry_out(planned, out / stage))
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=Console(stderr=True))


async def _carry_out(planned: list[RunSpec], out: Path) -> None:
    with _bar() as progress:
        task = progress.add_task("", total=sum(spec.num_steps for spec in planned))
        before = 0
        for spec in planned:

            def report(step: int, spec: RunSpec = spec, before: int = before) -> None:
                progress.update(task, description=spec.name, completed=before + step)

            await carry_out(spec, out, report)
            before += spec.num_steps


def _regime(name: str) -> str:
    if name not in REGIMES:
        raise ConfigError(f"there is no regime {name!r}; there are {', '.join(REGIMES)}", param="regime")
    return name


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
def signal(  # noqa: PLR0913, PLR0917 - options of a command
    regime: Annotated[str, typer.Option(help="deep, long or short.")] = "deep",
    policy: Annotated[Path, typer.Option(help="Model folder.", exists=True)] = MINI_DEEP.folder,
    prover: Annotated[
        Path | None, typer.Option(help="Model folder of the prover.", exists=True, show_default="the policy's")
    ] = None,
    values: Values = "likelihood",
    answers: Answers = 4,
    arm: Annotated[list[str] | None, typer.Option(help="These arms.")] = None,
    name: Annotated[str, typer.Option(help="Of what is written.", show_default="REGIME-VALUES")] = "",
    batches: Annotated[int, typer.Option(min=2, help="Batches, each of 16 problems with 8 traces.")] = 16,
    threads: Threads = 2,
    out: Annotated[Path, typer.Option(help="Folder of what is measured.", file_okay=False)] = SIGNALS,
) -> None:
    """How much one batch's gradient says, of each way to pay; no training. Say it again after a kill."""
    torch.set_num_threads(threads)
    configure_logs("off")
    try:
        spec = ValueSpec(_source(values), answers, prover or policy)
        chosen = [RunSpec(arm_of(name).name, _regime(regime), 0, 1, 1, spec, policy) for name in arm or AUDITED]
        name = name or f"{regime}-{spec.name}"
        # Gradients of other weights are not gone on with, whatever the name.
        weights = "-".join(digest(folder / "model.safetensors") for folder in (policy, spec.prover))
        with _bar() as bar:
            task = bar.add_task(name, total=batches)
            found = signals.measure(
                chosen, batches, out / "state" / name / weights, lambda done: bar.update(task, completed=done)
            )
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    what = chosen[0].record()
    shown = {key: what[key] for key in ("regime", "values", "policy", "problems", "group_size")}
    if prover is not None:
        shown["prover"] = digest(prover / "model.safetensors")
    signals.write(found, shown, out / f"{name}.json")
    typer.echo(signals.table(found), nl=False)


@app.command()
def evaluate(
    regime: Annotated[str, typer.Option(help="deep, long or short.")] = "deep",
    policy: Annotated[Path, typer.Option(help="Model folder.", exists=True)] = MINI_DEEP.folder,
    problems: Annotated[int, typer.Option(min=1, help="Problems, from the first on.")] = FINAL.num_problems,
    traces: Annotated[int, typer.Option(min=1, help="Traces of each.")] = FINAL.num_traces,
    threads: Threads = 2,
) -> None:
    """How good a policy is, on the problems that runs are evaluated on: a line of each metric. No training."""
    torch.set_num_threads(threads)
    configure_logs("off")
    try:
        found = asyncio.run(_evaluated(_regime(regime), policy, Size(problems, traces)))
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    for name, values_N in found.metrics.items():
        typer.echo(f"{name} {np.nanmean(values_N):.4f}")


async def _evaluated(regime: str, policy: Path, size: Size) -> Evaluation:
    with tempfile.TemporaryDirectory() as folder, _bar() as bar:
        loop = new_loop(RunSpec("outcome", regime, 0, 1, 1, ValueSpec("revealed"), policy), Path(folder))
        task = bar.add_task("problems", total=size.num_problems)
        return await evaluation.evaluate(loop, size, lambda done: bar.update(task, completed=done))


@app.command()
def bounds(
    regime: Annotated[str, typer.Option(help="deep, long or short.")] = "deep",
    policy: Annotated[
        Path, typer.Option(help="Model folder, whose tokens are counted.", exists=True)
    ] = MINI_DEEP.folder,
) -> None:
    """Regret and tokens of searchers that make no mistake, in Markdown: what there is to gain. No training."""
    try:
        chosen = REGIMES[_regime(regime)]
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    typer.echo("| searcher | regret to 3 budgets | tokens |\n| --- | --- | --- |")
    for bound in searchers.bounds(chosen, policy):
        typer.echo(f"| {bound.searcher} | {bound.regret:.3f} | {bound.tokens:.0f} |")


@app.command()
def report(
    stage: Stages = "quick",
    out: Runs = RUNS,
    figure: Annotated[Path | None, typer.Option(help="SVG to write.", dir_okay=False)] = None,
    drawn: Annotated[list[str] | None, typer.Option("--draw", help="Arms of the picture; all if not given.")] = None,
    values: Annotated[list[str] | None, typer.Option(help="Only runs with these: likelihood, coupled4 …")] = None,
    beside: Annotated[str | None, typer.Option(help="A stage of other numbers of steps, to compare with.")] = None,
) -> None:
    """Tables of the runs of a stage that are done, in Markdown, and their curves."""
    try:
        stage_of(stage)
        shown = [arm_of(name).name for name in drawn or ARMS]
        finished = read_runs(out / stage)
        if beside:
            stage_of(beside)
            finished = [each.with_steps() for each in (*finished, *read_runs(out / beside))]
        if values:
            finished = [each for each in finished if each.values.partition(",")[0] in values]
        report = page(finished)
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error
    if figure is not None:
        chosen = [each for each in finished if each.arm in shown]
        regimes = {each.regime for each in chosen}
        draw(chosen, figure, {name: searchers.tidy_regret(REGIMES[name], MINI_DEEP.folder) for name in regimes})
    typer.echo(report, nl=False)


if __name__ == "__main__":
    app()
