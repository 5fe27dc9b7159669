"""`mrt-reward evaluate`: problems or traces in, results and a report out; it goes on where it was stopped."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrt_reward.cli.columns import Map, Problems, refuse_unanswered, refuse_unusable, renames_from
from mrt_reward.cli.direct import Direct, DirectAnswers, DirectClosed, DirectTokens, direct_plan, run_direct
from mrt_reward.cli.flags import ENGINE, chosen, flag, with_settings
from mrt_reward.cli.invocation import this_call
from mrt_reward.cli.options import OPTIONS, options_from
from mrt_reward.cli.report import BUDGETS, SIZES, TARGETS, WEIGHTED, build, lens_of
from mrt_reward.cli.totals import FIRST, UNTHINKING
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.evaluation.direct import DirectSpec
from mrt_reward.evaluation.folder import Folder
from mrt_reward.evaluation.forcing import ForcingSpec
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.report import ReportSpec
from mrt_reward.evaluation.run import Run, RunCounts, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec, require_logprobs
from mrt_reward.evaluation.summary import TARGETS as DEFAULT_TARGETS
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.wiring import build_scorer

UNBOUNDED_TOKENS = 10**12
"""Nothing is refused for want of room: what is asked at once is bounded here already."""

_SAMPLING = SamplingSpec()


@with_settings(*ENGINE)
def evaluate(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSONL: problem and answer; with completion, a trace.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Folder to write.")],
    name: Annotated[
        str | None,
        typer.Option(help="What to call the model, where a trace has no column `model`. [default: --model]"),
    ] = None,
    traces: Annotated[int, flag(SamplingSpec, "num_traces")] = _SAMPLING.num_traces,
    max_tokens: Annotated[int, flag(SamplingSpec, "max_tokens")] = _SAMPLING.max_tokens,
    temperature: Annotated[float, flag(SamplingSpec, "temperature")] = _SAMPLING.temperature,
    top_p: Annotated[float, flag(SamplingSpec, "top_p")] = _SAMPLING.top_p,
    seed: Annotated[int, flag(SamplingSpec, "seed")] = _SAMPLING.seed,
    options: Annotated[
        str | None,
        typer.Option(metavar=OPTIONS, help="Scoring options. [default: 8 sampled answers a prefix, which are kept]"),
    ] = None,
    extend: Annotated[
        int, typer.Option(min=0, help="Force each trace on this many times beyond its end (`Wait`, `But wait`, …).")
    ] = 0,
    extend_tokens: Annotated[int, flag(ForcingSpec, "max_tokens")] = 2048,
    direct: Direct = None,
    direct_answers: DirectAnswers = 32,
    direct_tokens: DirectTokens = 2048,
    direct_closed: DirectClosed = False,
    budgets: Annotated[list[float] | None, BUDGETS] = None,
    votes: Annotated[list[int] | None, SIZES] = None,
    weighted_votes: Annotated[bool, WEIGHTED] = False,
    targets: Annotated[list[float] | None, TARGETS] = None,
    waste_threshold: Annotated[float, flag(Lens, "waste_threshold")] = Lens().waste_threshold,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew instead of going on.")] = False,
    columns: Map = None,
    *,
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
    sampling = chosen(
        SamplingSpec, num_traces=traces, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed
    )
    close = scoring.delimiters.close
    forcing = ForcingSpec(extend, sampling, extend_tokens, close=close) if extend else None
    plan = RunPlan(name or settings.model or "mini", scoring, sampling, forcing)
    plain = Rollouts(
        "rollouts",
        num_samples=direct_answers,
        temperature=temperature,
        top_p=top_p,
        max_tokens=direct_tokens,
        seed=seed,
        keep_answers=True,
    )
    answering = direct and direct_plan(
        direct, settings, DirectSpec(plain, direct_closed, scoring.delimiters, scoring.grader), weighted=weighted_votes
    )
    lens = lens_of(budgets, votes, waste_threshold, weighted=weighted_votes)
    call = this_call()
    spec = ReportSpec(lens, tuple(budgets or ()), tuple(targets or DEFAULT_TARGETS), seed, made=call)
    refuse_unusable(source, read.rows())
    grader = settings.graders.get(scoring.grader or next(iter(settings.graders)))
    refuse_unanswered(source, read.rows(), scoring, grader)
    console = Console(stderr=True)
    with Folder(output) as folder:
        if overwrite:
            folder.clear()
        folder.remember(plan.model, {**asdict(plan), "engine": settings.engine, "source": source.name})
        folder.add_run(plan.model, call.fields())
        try:
            counts = _run(read, folder, plan, settings, console, weighted=weighted_votes)
        except ProverUnavailable as error:
            raise ProverUnavailable(
                f"{error}; {output} keeps what was finished: see to the engine, and run the same command again"
            ) from error
        _tell(counts, output, console)
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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console) as progress:
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


def _tell(counts: RunCounts, folder: Path, console: Console) -> None:
    console.print(
        f"{folder}: {counts.scored} traces scored ({counts.sampled} sampled, {counts.partial} partial), "
        f"{counts.failed} failed, {counts.already} already there",
        highlight=False,
        soft_wrap=True,
    )
    if counts.first_failure:
        console.print(f"first failure: {counts.first_failure}", highlight=False, markup=False, soft_wrap=True)
