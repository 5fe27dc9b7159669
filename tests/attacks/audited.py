"""Traces as the audit reads them, valued by what each prefix has revealed, so that no engine is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrt_reward.core.episodes import episode_spans, find_thinking
from mrt_reward.core.progress import with_progress
from mrt_reward.evaluation.result import Result
from mrt_reward.mini import template
from mrt_reward.mini.island import Problem
from mrt_reward.mini.truth import revealed_values
from mrt_reward.options import BalancedSegmenter, Delimiters
from mrt_reward.types import Episode, ScoredTrace, Status, Trace, Value


def result_of(trace: Trace, values: Sequence[float] | None = None, outcome: float | None = None) -> Result:
    """A trace cut by default, with the values that are given, or with some that rise evenly."""
    text = trace.completion or ""
    thinking = find_thinking(text, Delimiters(), opened=False)
    spans = () if thinking is None else episode_spans(text, thinking, BalancedSegmenter())
    bare = [Episode(span.start, span.end, span.start, span.end) for span in spans]
    chosen = np.linspace(0.0, 1.0, len(bare) + 1).tolist() if values is None else values
    measured = [Value(value, 0.0, value, value) for value in chosen]
    scored = ScoredTrace(trace.id, Status.OK, outcome, tuple(measured), with_progress(bare, measured), "m@1")
    return Result((trace, scored), problem=trace.problem or "")


def revealed_result(problem: Problem, completion: str, name: str = "t") -> Result:
    """A trace of the bundled task, valued by its truth."""
    trace = Trace(name, problem=problem.text, completion=completion, answer=(str(problem.answer),))
    cut = result_of(trace)
    prefixes = [cut.prefix(index) for index in range(cut.num_episodes + 1)]
    right = template.boxed_answer(completion) == problem.answer
    return result_of(trace, revealed_values(problem, prefixes).tolist(), float(right))
