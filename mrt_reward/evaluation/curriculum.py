"""The next round of training: how long traces may be, and which problems still teach.

A length budget is enough where nothing beyond it pays: the smallest budget b with

    max_{b' ≥ b} (acc(b') - acc(b)) < min_gain        at the upper end of its 95 % interval over problems

where acc(b) is the accuracy of answers forced at b tokens. The paper (figure 12) finds that training at 8K and then
at 16K tokens has less regret than at 16K throughout: a budget that grows only once it pays is a curriculum.

Dimension key: N problems · B budgets · R resamples · P prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from mrt_reward.core.regret import accuracy_at
from mrt_reward.evaluation.bootstrap import (
    Estimate,
    Floats,
    estimate,
    estimates,
    mean_of_known,
    resample_counts,
    resampled_means,
)
from mrt_reward.evaluation.pool import indices_by_problem
from mrt_reward.evaluation.result import Result
from mrt_reward.ranges import check_ranges, option

NUM_BUDGETS = 64
"""Budgets looked at, where no granularity is given."""


@dataclass(frozen=True, slots=True)
class CurriculumSettings:
    """How the next round is chosen.

    Without a granularity it is the longest trace over `NUM_BUDGETS`. The budget grows where accuracy still rises at the
    longest traces, and those were cut off. Hard problems teach nothing yet, solved ones nothing more.

    Raises:
        ValueError: a field is outside its range.

    """

    min_gain: Annotated[float, Gt(0), Le(1)] = option(0.01, "Accuracy that is worth a longer budget.")
    granularity: Annotated[int, Ge(1)] | None = option(
        None, "Budgets are multiples of this many tokens. Unset: 64 budgets up to the longest trace."
    )
    answer_tokens: Annotated[int, Ge(0)] = option(32, "Tokens to close the thinking and answer.")
    growth: Annotated[float, Ge(1)] = option(2.0, "Factor of the budget where longer traces still pay.")
    low_rate: Annotated[float, Ge(0), Le(1)] = option(0.05, "Problems solved less often are hard.")
    high_rate: Annotated[float, Ge(0), Le(1)] = option(0.95, "Problems solved more often are solved.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.low_rate >= self.high_rate:
            raise ValueError(f"low_rate must be below high_rate, got {self.low_rate} and {self.high_rate}")


class Advice(str, Enum):
    """What the budget should do."""

    SETTLED = "nothing beyond it pays"
    GROW = "accuracy still rises where traces were cut off: let them be longer"
    KEEP = "accuracy rises to the end of the longest traces, which end by themselves"


class Difficulty(str, Enum):
    """What a problem is to the next round."""

    HARD = "hard"
    LEARNABLE = "learnable"
    SOLVED = "solved"


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """One budget.

    Attributes:
        tokens: of a response, answer included.
        accuracy: of answers forced there.
        gain_left: most that any longer budget adds.

    """

    tokens: int
    accuracy: Estimate
    gain_left: Estimate


@dataclass(frozen=True, slots=True)
class ProblemPlan:
    """One problem.

    Attributes:
        name: its group, or what was asked.
        traces: behind the rate.
        rate: share of them that are right; forced accuracy at the chosen budget where outcomes are not known.
        difficulty: by the rate.

    """

    name: str
    traces: int
    rate: float
    difficulty: Difficulty


@dataclass(frozen=True, slots=True)
class Schedule:
    """The next round.

    Attributes:
        budget: tokens of a response.
        advice: why this many.
        truncated: share of traces that never closed their thinking.
        hidden: most accuracy that those could still gain beyond where they were cut off, where nothing was seen: their
            J[K] is taken to stay, so that `gain_left` knows nothing of it.
        points: all budgets looked at.
        problems: all problems.
        left_out: traces with a missing value.

    """

    budget: int
    advice: Advice
    truncated: float
    hidden: float
    points: Sequence[BudgetPoint]
    problems: Sequence[ProblemPlan]
    left_out: int

    def of(self, difficulty: Difficulty) -> list[str]:
        """Names of the problems of this difficulty."""
        return [problem.name for problem in self.problems if problem.difficulty is difficulty]

    def record(self, settings: CurriculumSettings, round_: int) -> Mapping[str, object]:
        """For a JSON file that a training script reads."""
        return {
            "round": round_,
            "budget_tokens": self.budget,
            "advice": self.advice.name.lower(),
            "why": self.advice.value,
            "truncated_share": self.truncated,
            "hidden_gain_at_most": self.hidden,
            "settings": asdict(settings),
            "problems": {difficulty.value: self.of(difficulty) for difficulty in Difficulty},
            "budgets": [asdict(point) for point in self.points],
            "traces_left_out": self.left_out,
        }


def plan_round(traces: Sequence[Result], settings: CurriculumSettings) -> Schedule:
    """The next budget and the difficulty of each problem, from traces of the present policy.

    Raises:
        ValueError: no trace has all its values.

    """
    complete = [trace for trace in traces if trace.is_complete]
    if not complete:
        raise ValueError("expected at least one trace with all its values, got none")
    longest = max(trace.tokens_at(trace.num_episodes) for trace in complete) + settings.answer_tokens
    budget_B = _budgets(longest, settings)
    # Problem by problem, because only one problem's traces need be in memory.
    seen = [_seen([complete[j] for j in indices], budget_B, settings) for indices in indices_by_problem(complete)]
    accuracy_NB = np.array([each.accuracy_B for each in seen])
    points = _points(budget_B, accuracy_NB, np.array([each.traces for each in seen]))
    settled = [at for at, point in enumerate(points) if _surely_below(point.gain_left, settings.min_gain)]
    at = settled[0] if settled else len(points) - 1
    truncated = sum(each.truncated for each in seen) / len(complete)
    hidden = float(np.mean([each.hidden for each in seen]))
    budget, advice = int(budget_B[at]), Advice.SETTLED
    if at == len(points) - 1:
        advice = Advice.GROW if truncated else Advice.KEEP
        budget = round(budget * settings.growth) if truncated else budget
    plans = [_plan(each, at, settings) for each in seen]
    return Schedule(budget, advice, truncated, hidden, points, plans, len(traces) - len(complete))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a round needs of one problem: `accuracy_B` when forced, and what became of its traces."""

    name: str
    traces: int
    accuracy_B: Floats
    solved: float | None
    truncated: int
    hidden: float


def _seen(group: Sequence[Result], budget_B: Floats, settings: CurriculumSettings) -> _Seen:
    known = [trace.is_right for trace in group if trace.is_right is not None]
    return _Seen(
        group[0].trace.group or group[0].asked,
        len(group),
        _accuracy(group, budget_B, settings),
        solved=float(np.mean(known)) if known else None,
        truncated=sum(not trace.ending for trace in group),
        hidden=float(np.mean([_hidden(trace) for trace in group])),
    )


def _hidden(trace: Result) -> float:
    """What a trace that was cut off could still gain."""
    return 0.0 if trace.ending else 1.0 - float(trace.values[-1])


def _budgets(longest: int, settings: CurriculumSettings) -> Floats:
    step = settings.granularity or max(1, -(-longest // NUM_BUDGETS))
    budget_B: Floats = step * np.arange(1, -(-longest // step) + 1, dtype=np.float64)
    return budget_B


def _accuracy(group: Sequence[Result], budget_B: Floats, settings: CurriculumSettings) -> Floats:
    """Forced accuracy at each budget, averaged over the problem's traces."""
    curves = [
        accuracy_at(
            np.array([trace.tokens_at(j) for j in range(trace.num_episodes + 1)]) + settings.answer_tokens,
            trace.values,
            budget_B,
        )
        for trace in group
    ]
    accuracy_B: Floats = np.array(curves, np.float64).mean(axis=0)
    return accuracy_B


def _points(budget_B: Floats, accuracy_NB: Floats, trace_N: Floats) -> list[BudgetPoint]:
    count_RN = resample_counts(len(accuracy_NB))
    accuracies = estimates(accuracy_NB, trace_N.astype(np.int64), count_RN)
    left_B = gain_left(mean_of_known(accuracy_NB)[None])[0]
    left_RB = gain_left(resampled_means(accuracy_NB, count_RN))
    return [
        BudgetPoint(
            int(budget_B[at]),
            accuracies[at],
            estimate(float(left_B[at]), left_RB[:, at], problems=len(accuracy_NB), traces=int(trace_N.sum())),
        )
        for at in range(budget_B.size)
    ]


def gain_left(accuracy_RB: Floats) -> Floats:
    """Most that any longer budget adds to the accuracy at each.

    Returns:
        `gain_RB` ≥ 0: never rising with the budget while accuracy falls nowhere, and 0 at the last.

    """
    best_RB = np.maximum.accumulate(accuracy_RB[:, ::-1], axis=1)[:, ::-1]
    return best_RB - accuracy_RB


def _surely_below(gain: Estimate, least: float) -> bool:
    """Whether the interval's upper end is below; one problem has no interval, and settles nothing."""
    return gain.high is not None and gain.high < least


def _plan(seen: _Seen, at: int, settings: CurriculumSettings) -> ProblemPlan:
    rate = float(seen.accuracy_B[at]) if seen.solved is None else seen.solved
    difficulty = Difficulty.LEARNABLE
    if rate < settings.low_rate:
        difficulty = Difficulty.HARD
    elif rate > settings.high_rate:
        difficulty = Difficulty.SOLVED
    return ProblemPlan(seen.name, seen.traces, rate, difficulty)
