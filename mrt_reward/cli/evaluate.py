"""`mrt-reward evaluate`: problems or traces in, results and a report out; it goes on where it was stopped."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.columns import Map, Problems, refuse_unanswered, refuse_unusable, renames_from
from mrt_reward.cli.direct import DirectFlags, run_direct
from mrt_reward.cli.flags import ENGINE, flag, taking, with_settings
from mrt_reward.cli.invocation import this_call
from mrt_reward.cli.options import OPTIONS, options_from
from mrt_reward.cli.report import ReportFlags, build
from mrt_reward.cli.totals import FIRST, UNTHINKING
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.evaluation.folder import Folder
from mrt_reward.evaluation.forcing import ForcingSpec
from mrt_reward.evaluation.run import Run, RunCounts, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec, require_logprobs
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.wiring import build_scorer

UNBOUNDED_TOKENS = 10**12
"""Nothing is refused for want of room: what is asked at once is bounded here already."""


@with_settings(*ENGINE)
def evaluate(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSONL: problem and answer; with completion, a trace.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Folder to write.")],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model, where a trace has no column `model`. [default: --model]"),
    ] = None,
    *,
    sampling: Annotated[SamplingSpec, taking(num_traces="--traces")],
    options: Annotated[
        str | None,
        typer.Option(metavar=OPTIONS, help="Scoring options. [default: 8 sampled answers a prefix, which are kept]"),
    ] = None,
    extend: Annotated[
        int, typer.Option(min=0, help="Force each trace on this many times beyond its end (`Wait`, `But wait`, …).")
    ] = 0,
    extend_tokens: Annotated[int, flag(ForcingSpec, "max_tokens")] = 2048,
    direct: DirectFlags,
    reported: ReportFlags,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete earlier results in the folder, and start again.")
    ] = False,
    columns: Map = None,
    settings: ServeSettings,
) -> None:
    """Measure a reasoning model by its budget: accuracy, regret, progress, and whether more thinking helps.

    Rows of SOURCE with a `completion` are traces; the others are problems, of which the model writes traces. Then every
    prefix of every trace is forced to answer. Run it again to go on after a stop; run it with another model and the
    same folder to compare the two. With --direct, another model also answers the problems without thinking, and the
    report sets votes on these against thinking, at matched tokens.
    """
    read = Problems(source, renames_from(columns))
    scoring = _for_curves(options_from(options, ScoreOptions(estimator=Rollouts("rollouts"))))
    close = scoring.delimiters.close
    forcing = ForcingSpec(extend, sampling, extend_tokens, close=close) if extend else None
    plan = RunPlan(name or settings.model or "mini", scoring, sampling, forcing)
    weighted = reported.weighted_votes
    answering = direct.plan(settings, sampling, scoring, weighted=weighted)
    call = this_call()
    spec = reported.spec(sampling.seed, call)
    refuse_unusable(source, read.rows())
    refuse_unanswered(source, read.rows(), scoring, grader_of(scoring.grader, settings.graders), read.renames)
    console = Console(stderr=True)
    with Folder(output) as folder:
        if overwrite:
            folder.clear()
        folder.remember(plan.model, {**asdict(plan), "engine": settings.engine, "source": source.name})
        folder.add_run(plan.model, call.fields())
        try:
            counts = _run(read, folder, plan, settings, console, weighted=weighted)
        except ProverUnavailable as error:
            raise ProverUnavailable(
                f"{error}; {output} keeps what was finished: see to the engine, and run the same command again"
            ) from error
        _report(counts, output, console)
        failed = counts.failed
        if answering:
            failed += run_direct(read, folder, answering, console).failed
        if counts.scored + counts.already:
            build([output], output, spec)
    if failed:
        raise SystemExit(1)


def _for_curves(options: ScoreOptions) -> ScoreOptions:
    """Answers are kept for votes; unless they are to be coupled, each trace has noise of its own.

    Coupling makes differences along a trace surer; a curve averages over a problem's traces, which noise that they
    share does not cancel in.
    """
    estimator = options.estimator
    if not isinstance(estimator, Rollouts):
        return options
    return replace(options, estimator=replace(estimator, keep_answers=True, coupled=bool(estimator.coupled)))


def _run(
    source: Problems, folder: Folder, plan: RunPlan, settings: ServeSettings, console: Console, *, weighted: bool
) -> RunCounts:
    if weighted and not isinstance(plan.options.estimator, Rollouts):
        raise ConfigError("--weighted-votes: likelihoods know no votes: use rollouts", param="weighted_votes")
    total = sum(
        1 if row.trace is None or row.trace.completion is not None else plan.sampling.num_traces
        for row in source.rows()
    )
    with bar(console) as progress:
        task = progress.add_task(f"{plan.model}: loading", total=total)

        async def measure() -> RunCounts:
            scorer = build_scorer(settings.model_copy(update={"max_queue_tokens": UNBOUNDED_TOKENS}))
            if scorer.info.note:
                console.print(f"note: {scorer.info.note}", highlight=False)
            try:
                if weighted:
                    await require_logprobs(scorer)

                def finished(num: int) -> None:
                    progress.advance(task, num)
                    if run.counts.unthinking == run.counts.failed == FIRST and not run.counts.scored:
                        console.print(UNTHINKING, style="red", highlight=False, markup=False, soft_wrap=True)

                run = Run(scorer, folder, plan, finished)
                progress.update(task, description=f"{plan.model}: traces")
                return await run(source.rows())
            finally:
                await scorer.close()

        return asyncio.run(measure())


def _report(counts: RunCounts, folder: Path, console: Console) -> None:
    console.print(
        f"{folder}: {counts.scored} traces scored ({counts.sampled} sampled, {counts.partial} partial), "
        f"{counts.failed} failed, {counts.already} already there",
        highlight=False,
        soft_wrap=True,
    )
    if counts.first_failure:
        console.print(f"first failure: {counts.first_failure}", highlight=False, markup=False, soft_wrap=True)
