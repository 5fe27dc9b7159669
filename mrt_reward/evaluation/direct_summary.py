"""Thinking against votes on direct answers, with intervals; paired, since both answer the same problems.

Dimension key: N problems · S sizes of a vote · B budgets · R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation.bootstrap import CurveSummary, Estimate, estimates
from mrt_reward.evaluation.direct_votes import DirectCaveats, DirectTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DirectSummary:
    """A model that answers without thinking.

    Attributes:
        name: of the model.
        problems: that it answered.
        sizes: k of each vote.
        votes: maj@k, x being the mean tokens of the prompt and k answers.
        metrics: `accuracy@budget` of as many votes as the budget buys.
        caveats: what a reader should know; `Estimate.traces` counts answers, too.

    """

    name: str
    problems: int
    sizes: tuple[int, ...]
    votes: CurveSummary
    metrics: Mapping[str, Estimate]
    caveats: DirectCaveats


@dataclass(frozen=True, slots=True)
class CurveDifference:
    """Thinking minus direct votes at matched tokens, on the problems that both have, resampled together.

    Attributes:
        model: that thinks.
        direct: that votes.
        curves: by what the thinking ends in: `accuracy` is one answer, `maj@k` a vote at the cut.
        metrics: `accuracy@budget`, of one answer.

    """

    model: str
    direct: str
    curves: Mapping[str, CurveSummary]
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class AccuracyColumns:
    """What is read off tables.

    Attributes:
        budget_B: the grid.
        columns: index on it of each budget to tell.
        count_RN: resamples of the problems.

    """

    budget_B: Floats
    columns: Mapping[float, int]
    count_RN: NDArray[np.int32]

    def at_budgets(self, value_NB: Floats, trace_N: NDArray[np.int64]) -> dict[str, Estimate]:
        """`accuracy@budget` of each budget to tell."""
        found = estimates(value_NB[:, list(self.columns.values())], trace_N, self.count_RN)
        return {f"accuracy@{budget:g}": each for budget, each in zip(self.columns, found, strict=True)}


def summarise_direct(name: str, table: DirectTable, reading: AccuracyColumns) -> DirectSummary:
    """One model's numbers."""
    known_NS = ~np.isnan(table.value_NS)
    there_N = known_NS.any(axis=1)
    # A size that few problems reach is another set of problems: votes end where half of them have no more answers.
    there_S: NDArray[np.bool_] = known_NS.sum(axis=0) * 2 >= max(int(there_N.sum()), 1)
    return DirectSummary(
        name,
        int(there_N.sum()),
        tuple(size for size, is_there in zip(table.sizes, there_S, strict=True) if is_there),
        CurveSummary(
            tuple(np.nanmean(table.token_NS[:, there_S], axis=0).tolist()),
            tuple(estimates(table.value_NS[:, there_S], table.answer_N, reading.count_RN)),
        ),
        reading.at_budgets(table.accuracy_NB, table.answer_N),
        table.caveats,
    )


def advantage(
    names: tuple[str, str],
    thinking: Mapping[str, Floats],
    trace_N: NDArray[np.int64],
    table: DirectTable,
    shown_B: NDArray[np.bool_],
    reading: AccuracyColumns,
) -> CurveDifference:
    """Thinking minus direct votes.

    Args:
        names: of the model that thinks and of the one that does not.
        thinking: `accuracy_NB` by curve, `accuracy` among them.
        trace_N: traces behind each problem.
        table: direct answers to the same problems.
        shown_B: which budgets of the grid to draw.
        reading: what to read.

    """
    x = tuple(reading.budget_B[shown_B].tolist())
    apart = {name: accuracy_NB - table.accuracy_NB for name, accuracy_NB in thinking.items()}
    curves = {
        name: CurveSummary(x, tuple(estimates(apart_NB[:, shown_B], trace_N, reading.count_RN)))
        for name, apart_NB in apart.items()
        if not np.isnan(apart_NB[:, shown_B]).all()
    }
    return CurveDifference(*names, curves, reading.at_budgets(apart["accuracy"], trace_N))
