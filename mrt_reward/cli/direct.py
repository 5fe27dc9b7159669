"""What `mrt-reward evaluate --direct` adds: a model's answers without thinking, to the same problems."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.columns import Problems
from mrt_reward.cli.flags import flag, named_settings
from mrt_reward.cli.invocation import this_call
from mrt_reward.config import ServeSettings
from mrt_reward.evaluation.direct import DirectSpec
from mrt_reward.evaluation.direct_run import DirectRun
from mrt_reward.evaluation.folder import Folder
from mrt_reward.evaluation.run import RunCounts
from mrt_reward.evaluation.sampling import SamplingSpec, require_logprobs
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.wiring import build_scorer

MINI = "mini"


@dataclass(frozen=True, slots=True)
class DirectFlags:
    """Whether and how another model answers without thinking."""

    direct: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|NAME=JSON",
            help="Model that answers the problems without thinking, to compare votes with: a folder, a hub name or "
            "`mini`, on the same --engine; or settings of its own, as of `serve`.",
        ),
    ] = None
    direct_answers: Annotated[int, flag(Rollouts, "num_samples", help="Direct answers to each problem.")] = 32
    direct_tokens: Annotated[int, flag(Rollouts, "max_tokens", help="Longest direct answer, in tokens.")] = 2048
    direct_closed: Annotated[
        bool,
        typer.Option(
            "--direct-closed",
            help="Put an empty thinking block before direct answers, for a model that would think (a block that the "
            "chat template opens is closed in any case).",
        ),
    ] = False

    def plan(
        self, settings: ServeSettings, sampling: SamplingSpec, scoring: ScoreOptions, *, weighted: bool
    ) -> DirectPlan | None:
        """Who answers and how; None where nobody is asked.

        Raises:
            ConfigError: the flag is no model and no valid settings.

        """
        if self.direct is None:
            return None
        plain = Rollouts(
            "rollouts",
            num_samples=self.direct_answers,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=self.direct_tokens,
            seed=sampling.seed,
            keep_answers=True,
        )
        spec = DirectSpec(plain, self.direct_closed, scoring.delimiters, scoring.grader)
        return direct_plan(self.direct, settings, spec, weighted=weighted)


@dataclass(frozen=True, slots=True)
class DirectPlan:
    """A model that answers directly.

    Attributes:
        name: what to call it.
        settings: of its engine.
        spec: how it answers.
        weighted: whether its votes are to be weighted, for which its engine must return log-probabilities.

    """

    name: str
    settings: ServeSettings
    spec: DirectSpec
    weighted: bool


def direct_plan(word: str, settings: ServeSettings, spec: DirectSpec, *, weighted: bool) -> DirectPlan:
    """From the flag, and the settings of the model that thinks.

    Raises:
        ConfigError: the flag is no model and no valid settings.

    """
    if "=" in word:
        name, own, _ = named_settings(word, "--direct", settings)
        return DirectPlan(name, own, spec, weighted)
    model = None if word == MINI else word
    return DirectPlan(word, settings.model_copy(update={"model": model, "tokenizer": None}), spec, weighted)


def run_direct(source: Problems, folder: Folder, plan: DirectPlan, console: Console) -> RunCounts:
    """Answer the problems that have no answers yet; the engine is built only if there are any."""
    name = f"{plan.name}, direct"
    folder.remember(name, {**asdict(plan.spec), "engine": plan.settings.engine, "source": source.path.name})
    folder.add_run(name, this_call().fields())
    run = DirectRun(folder, plan.name, source.rows())
    try:
        if run.todo:
            asyncio.run(_answer(run, plan, console))
    finally:
        run.close()
    counts = run.counts
    console.print(
        f"{folder.path}: {counts.scored} problems answered without thinking, {counts.failed} failed, {counts.already} "
        "already there",
        highlight=False,
        soft_wrap=True,
    )
    if counts.first_failure:
        console.print(f"first failure: {counts.first_failure}", highlight=False, markup=False, soft_wrap=True)
    return counts


async def _answer(run: DirectRun, plan: DirectPlan, console: Console) -> None:
    scorer = build_scorer(plan.settings)
    if scorer.info.note:
        console.print(f"note: {scorer.info.note}", highlight=False)
    try:
        if plan.weighted:
            await require_logprobs(scorer)
        with bar(console) as progress:
            task = progress.add_task(f"{plan.name}: direct answers", total=len(run.todo))
            await run(scorer, plan.spec, lambda: progress.advance(task))
    finally:
        await scorer.close()
