"""The backtracking variant's warm-up data: a wrong attempt, an explicit backtrack, and an attempt that is right.

Here traces have no thinking tags (both delimiters are ''): the episodes are the steps of one attempt. Of a wrong
attempt, the step to go back to is the deepest one from which its value was still high and after which it fell; a
right attempt that shares the prefix up to there takes over. Only the suffix, from the backtrack on, is trained
(figures 13 to 15 of the paper, and the loss mask of its code). *Differs from the paper:* right attempts come from
traces that share the prefix, or from sampled continuations, not from a tree search over base rollouts.

Dimension key: K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from mrt_reward.core.progress import Floats
from mrt_reward.evaluation.datasets.branching import Continuation
from mrt_reward.evaluation.pool import indices_by_problem
from mrt_reward.evaluation.result import Result
from mrt_reward.ranges import check_ranges, option
from mrt_reward.types import Verdict

BACKTRACK = "This seems off. Let's backtrack to step {step}."
"""What says so; `{step}` counts the steps that are kept."""


@dataclass(frozen=True, slots=True)
class BacktrackSettings:
    """Where to go back to.

    Raises:
        ValueError: a field is outside its range, or the statement has no `{step}`.

    """

    min_value: Annotated[float, Ge(0), Le(1)] = option(0.25, "Least value of the prefix to go back to.")
    min_fall: Annotated[float, Ge(0), Le(1)] = option(0.1, "How far the value has fallen at the attempt's end.")
    statement: str = option(BACKTRACK, "Sentence that announces the step back; {step} is the number of steps kept.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if "{step}" not in self.statement:
            raise ValueError(f"statement must name the step to go back to as {{step}}, got {self.statement!r}")


def backtrack_target(value_P: Floats, settings: BacktrackSettings) -> int | None:
    """How many steps to keep: the deepest prefix whose value is the highest of all, if the attempt fell from there.

    Args:
        value_P: J of the attempt's prefixes; NaN where missing, which are never gone back to.
        settings: what counts as high and as a fall.

    Returns:
        j in 0 … K - 1 with `J[j] = max J`, `J[j] ≥ min_value` and `J[j] - J[K] ≥ min_fall`; None where there is none.

    """
    if value_P.size < 2 or np.isnan(value_P[-1]) or np.isnan(value_P[:-1]).all():
        return None
    best = float(np.nanmax(value_P[:-1]))
    target = int(np.flatnonzero(value_P[:-1] == best)[-1])
    return target if best >= settings.min_value and best - value_P[-1] >= settings.min_fall else None


@dataclass(frozen=True, slots=True)
class Backtrack:
    """One row to be.

    Attributes:
        wrong: the attempt that is left.
        target: how many of its steps are kept.
        right: the attempt that takes over, and after how many of its own steps; or what was sampled.

    """

    wrong: Result
    target: int
    right: tuple[Result, int] | str

    @property
    def correction(self) -> str:
        """What a right attempt says after the steps that are kept, to its end."""
        return self.right if isinstance(self.right, str) else _rest(*self.right)

    @property
    def source(self) -> str:
        """Id of that attempt, or that it was sampled."""
        return "sampled" if isinstance(self.right, str) else self.right[0].trace.id


def corrections(traces: Sequence[Result]) -> Mapping[bytes, tuple[Result, int]]:
    """For every prefix that a right attempt has, the one that ends soonest from there, and where it continues."""
    found: dict[bytes, tuple[Result, int]] = {}
    for trace in traces:
        if not trace.is_right:
            continue
        for index, key in enumerate(trace.prefix_keys()):
            kept = found.get(key)
            if kept is None or _num_left(trace, index) < _num_left(*kept):
                found[key] = (trace, index)
    return found


def _num_left(trace: Result, j: int) -> int:
    return len(trace.completion) - trace.char_at(j)


def _rest(trace: Result, j: int) -> str:
    return trace.completion[trace.char_at(j) :]


def backtracks_from(
    traces: Sequence[Result], settings: BacktrackSettings
) -> tuple[list[Backtrack], list[tuple[Result, int]]]:
    """Rows from wrong attempts whose kept prefix a right attempt shares.

    Returns:
        The rows, and (attempt, target) of the wrong attempts that no right one shares a prefix with: continuations may
        be sampled there.

    """
    found: dict[int, tuple[int, tuple[Result, int] | None]] = {}
    # Problem by problem, because only one problem's prefixes need be in memory; put back in order then.
    for indices in indices_by_problem(traces):
        right = corrections([traces[index] for index in indices])
        for index in indices:
            trace = traces[index]
            target = None if trace.is_right is not False else backtrack_target(trace.values, settings)
            if target is not None:
                found[index] = target, right.get(list(trace.prefix_keys())[target])
    in_order = [(traces[index], *found[index]) for index in sorted(found)]
    rows = [Backtrack(trace, target, other) for trace, target, other in in_order if other is not None]
    return rows, [(trace, target) for trace, target, other in in_order if other is None]


def sampled_backtracks(continued: Sequence[Sequence[Continuation]]) -> list[Backtrack]:
    """Rows from sampled continuations of the kept prefixes: of each, the shortest that ends right."""
    rows: list[Backtrack] = []
    for continuations in continued:
        right = [each for each in continuations if each.verdict is Verdict.CORRECT]
        if right:
            best = min(right, key=lambda each: len(each.text))
            rows.append(Backtrack(best.point.trace, best.point.index, best.text))
    return rows


def backtrack_row(row: Backtrack, prompt: str, settings: BacktrackSettings) -> Mapping[str, object]:
    """One row whose `completion` alone is trained: prompt and wrong attempt, then the backtrack and the right steps.

    Args:
        row: to write.
        prompt: of the problem, rendered.
        settings: the ones it was made with.

    """
    attempt = row.wrong.prefix(row.wrong.num_episodes)
    gap = "" if attempt.endswith("\n\n") else "\n\n"
    return {
        "prompt": prompt + attempt + gap,
        "completion": f"{settings.statement.format(step=row.target)}\n\n{row.correction.lstrip()}",
        "id": row.wrong.trace.id,
        "group": row.wrong.trace.group,
        "mrt_step": row.target,
        "mrt_value": row.wrong.value(row.target).value,
        "mrt_fall": float(row.wrong.values[row.target] - row.wrong.values[-1]),
        "mrt_source": row.source,
    }
