"""Bundled models side by side on the same fresh problems: accuracy, tokens and waste, against the known truth.

Dimension key: M models · N problems · G traces of a problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrt_reward.mini.bundled import MINI, Bundled
from mrt_reward.mini.island import Problem
from mrt_reward.mini.policy import SampledTrace, SamplingSettings, load_model, sample_traces
from mrt_reward.mini.truth import prefixes, revealed_values

Floats = NDArray[np.float64]

COMPARISON_SEED = 2_000_003
"""Of problems that neither training nor the model card uses."""

QUANTITIES = ("accuracy", "tokens", "truncated", "episodes", "waste")


@dataclass(frozen=True)
class Interval:
    """A mean over problems with its 95 % interval, normal approximation: mean ± 1.96·s/√N."""

    mean: float
    low: float
    high: float

    @classmethod
    def over(cls, value_N: Floats) -> Interval:
        """Of one number per problem; problems where it is not defined (NaN) are left out."""
        known_N = value_N[np.isfinite(value_N)]
        if known_N.size < 2:
            raise ValueError(f"an interval needs at least 2 problems, got {known_N.size}")
        mean, half = float(known_N.mean()), 1.96 * float(known_N.std(ddof=1)) / math.sqrt(known_N.size)
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class ModelMeasure:
    """One model on all problems, one number per problem for each of `QUANTITIES`.

    Attributes:
        folder: of the model.
        value_N: by quantity. accuracy and truncated are shares of the problem's traces; tokens and episodes are means
            over them; waste is the share of their episodes whose revealed progress is exactly zero, NaN without any.

    """

    folder: Path
    value_N: dict[str, Floats]

    def interval(self, quantity: str) -> Interval:
        """Mean over problems."""
        return Interval.over(self.value_N[quantity])

    def difference(self, base: ModelMeasure, quantity: str) -> Interval:
        """Mean over problems of this model minus the other, paired by problem."""
        return Interval.over(self.value_N[quantity] - base.value_N[quantity])


def measure_group(problem: Problem, traces: Sequence[SampledTrace]) -> dict[str, float]:
    """All quantities of one problem's traces."""
    progress_G = [np.diff(revealed_values(problem, prefixes(trace.thinking))) for trace in traces]
    progress_E = np.concatenate(progress_G)
    return {
        "accuracy": float(np.mean([trace.is_right for trace in traces])),
        "tokens": float(np.mean([len(trace.completion_ids) for trace in traces])),
        "truncated": float(np.mean([trace.is_truncated for trace in traces])),
        "episodes": float(np.mean([each.size for each in progress_G])),
        "waste": float(np.mean(np.abs(progress_E) < 1e-12)) if progress_E.size else math.nan,
    }


def compare(
    folders: Sequence[Path],
    bundled: Bundled = MINI,
    num_problems: int = 500,
    num_traces: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[ModelMeasure]:
    """Sample each model on the same problems at the policy's budget, temperature 1.

    Args:
        folders: of the models.
        bundled: whose problems and budget.
        num_problems: N, at least 2.
        num_traces: G of each problem.
        progress: called with (folder, completions finished, completions in all).

    Returns:
        One measure per folder, in their order.

    """
    problems = bundled.sample(num_problems, COMPARISON_SEED)
    measures: list[ModelMeasure] = []
    for folder in folders:

        def report(done: int, total: int, folder: Path = folder) -> None:
            if progress is not None:
                progress(str(folder), done, total)

        settings = SamplingSettings(bundled.budget_tokens, seed=COMPARISON_SEED)
        groups = sample_traces(load_model(folder), problems, num_traces, settings, report)
        rows = [measure_group(problem, group) for problem, group in zip(problems, groups, strict=True)]
        measures.append(ModelMeasure(folder, {name: np.array([row[name] for row in rows]) for name in QUANTITIES}))
    return measures
