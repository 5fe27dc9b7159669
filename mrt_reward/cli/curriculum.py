"""`mrt-reward curriculum`: the next length budget, and which problems still teach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mrt_reward.cli.flags import with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import Options, Output, Policy, ScoredFiles, pool_and_prompts, show_counts, show_notes
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.curriculum import BudgetPoint, CurriculumSettings, Difficulty, Schedule, plan_round
from mrt_reward.evaluation.result import Result
from mrt_reward.files import write_json, write_jsonl
from mrt_reward.options import ScoreOptions
from mrt_reward.wire import trace_fields

_SHOWN = 12


@with_settings()
def curriculum(
    scored: ScoredFiles,
    output: Output,
    *,
    problems: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSONL to write the learnable problems to, for the next round.")
    ] = None,
    round_: Annotated[int, typer.Option("--round", min=1, help="Number of the round that is planned.")] = 1,
    settings: CurriculumSettings,
    policy: Policy = None,
    options: Options = None,
) -> None:
    """Plan the next round: the smallest length budget past which thinking stops paying, and the problems that teach.

    A budget is enough where nothing longer adds --min-gain to accuracy, at the upper end of the 95 % interval over
    problems. OUTPUT is JSON for a training script.
    """
    try:
        pool, _ = pool_and_prompts(scored, None, policy, options_from(options, ScoreOptions()).delimiters)
        schedule = plan_round(pool.traces, settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    write_json(output, {"prover": pool.prover, **schedule.record(settings, round_)})
    if problems is not None:
        write_jsonl(problems, _kept(pool.traces, schedule))
    console = Console(stderr=True)
    show_notes(console, pool.notes)
    console.print(_table(schedule, settings))
    counts = Counter(problem.difficulty.value for problem in schedule.problems)
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    show_counts(
        console,
        f"round {round_}: {schedule.budget} tokens, {counts[Difficulty.LEARNABLE.value]} problems",
        {**counts, "traces left out, a value is missing": schedule.left_out, **unusable},
        {
            "advice": schedule.advice.value,
            "traces cut off while thinking": f"{schedule.truncated:.1%}",
            "accuracy that may be hidden beyond their cut": f"at most {schedule.hidden:.3f}",
        },
    )
    console.print(str(output), highlight=False, soft_wrap=True)


def _table(schedule: Schedule, settings: CurriculumSettings) -> Table:
    table = Table(title=f"what a longer budget still adds; enough below {settings.min_gain}", title_justify="left")
    for column in ("tokens", "accuracy when forced there", "gain left"):
        table.add_column(column, justify="right")
    for point in _some(schedule):
        chosen = "bold" if point.tokens == schedule.budget else ""
        table.add_row(str(point.tokens), _shown(point.accuracy), _shown(point.gain_left), style=chosen)
    return table


def _some(schedule: Schedule) -> list[BudgetPoint]:
    """Few enough to read, the chosen one among them."""
    step = max(1, len(schedule.points) // _SHOWN)
    return [
        point for at, point in enumerate(schedule.points) if at % step == step - 1 or point.tokens == schedule.budget
    ]


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not known"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _kept(traces: Sequence[Result], schedule: Schedule) -> list[dict[str, object]]:
    """One row for each learnable problem: what was asked and the gold answer."""
    learnable = set(schedule.of(Difficulty.LEARNABLE))
    rows: dict[str, dict[str, object]] = {}
    for trace in traces:
        name = trace.trace.group or trace.asked
        if name in learnable and name not in rows:
            fields = trace_fields(trace.trace)
            rows[name] = {
                field: fields[field]
                for field in ("group", "problem", "messages", "prompt", "answer")
                if fields.get(field) is not None
            }
    return list(rows.values())
