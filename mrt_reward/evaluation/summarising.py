"""From what is measured of each problem to the numbers of a report.

Dimension key: N problems · Q quantities · R resamples · B budgets · S, Y sizes of a vote · E indices · X points of a
curve · M models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation.bootstrap import (
    CurveSummary,
    Estimate,
    estimate,
    estimates,
    mean_of_known,
    resample_counts,
    resampled_means,
)
from mrt_reward.evaluation.curves import tokens_to_reach
from mrt_reward.evaluation.measures import KINDS, SCALARS
from mrt_reward.evaluation.summary import Difference, ModelSummary, Summary
from mrt_reward.evaluation.tally import Tally, terciles

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
Measures = Mapping[str, Floats]
"""What is measured of a model, by name, problem by problem (`Tally.measures`)."""

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9)
MAX_COMPARED = 6
"""Differences are given for every pair of this many models at most; beyond, against the first model only."""


def summarise(
    tally: Tally, *, budgets: Sequence[float] = (), targets: Sequence[float] = TARGETS, seed: int = 0
) -> Summary:
    """Every number of a report.

    Args:
        tally: of at least one trace.
        budgets: for accuracy and regret, in tokens, of the tally's grid; none takes the power of two that holds the
            longest mean trace, its half and its quarter.
        targets: accuracies to be reached.
        seed: of the resampling.

    Raises:
        ValueError: no trace was added, or a budget is not on the grid.

    """
    if not tally.models:
        raise ValueError("expected at least one scored trace, got none")
    found = {model: tally.measures(model) for model in (*tally.models, *tally.direct)}
    chosen = tuple(budgets) or _default_budgets(tally, [found[model] for model in tally.models])
    if not set(chosen) <= set(tally.lens.budget_B.tolist()):
        raise ValueError(f"budgets {chosen} are not all on the grid: give them to the tally's lens too")
    count_RN = resample_counts(len(tally.problems), seed=seed)
    solved_MN = np.stack([found[model]["final"] for model in tally.models])
    columns = {model: _columns(tally, found[model], chosen) for model in found}
    context = _Context(tally, count_RN, terciles(mean_of_known(solved_MN)), tuple(targets), found, columns)
    names = tally.models
    pairs = list(combinations(names, 2)) if len(names) <= MAX_COMPARED else [(names[0], name) for name in names[1:]]
    return Summary(
        chosen,
        tally.lens.waste_threshold,
        tuple(_model(context, model) for model in names),
        tuple(_difference(context, first, second) for first, second in pairs),
        tuple(_direct_model(context, model) for model in tally.direct),
        tally.lens.direct_sizes if tally.direct else (),
        tuple(_difference(context, direct, model) for model in names for direct in tally.direct),
        tally.lens.weighted,
    )


@dataclass(frozen=True, slots=True)
class _Context:
    tally: Tally
    count_RN: Counts
    thirds: Mapping[str, NDArray[np.intp]]
    targets: tuple[float, ...]
    measures: Mapping[str, Measures]
    columns: Mapping[str, Measures]

    def name(self, model: str) -> str:
        return self.tally.shown_names[model]


def _default_budgets(tally: Tally, found: Iterable[Measures]) -> tuple[float, ...]:
    longest = max(map(_longest, found))
    most = float(np.clip(2.0 ** np.ceil(np.log2(max(longest, 1.0))), 64.0, tally.lens.budget_B[-1]))
    return (most / 4, most / 2, most)


def _longest(measures: Measures) -> float:
    """Longest mean x at any episode index, in tokens; where curves end."""
    token_NE = measures["index_tokens"][:, 0]
    return float(np.nanmax(token_NE)) if not np.isnan(token_NE).all() else 1.0


def _inside(tally: Tally, measures: Measures, end: float) -> NDArray[np.bool_]:
    """Budgets to draw: from where the empty prefix can be answered to where the longest trace ends."""
    first = np.nanmin(measures["index_tokens"][:, 0]) if _longest(measures) > 1 else 0.0
    return (tally.lens.budget_B >= first) & _up_to(tally.lens.budget_B, end)


def _up_to(budget_B: Floats, end: float) -> NDArray[np.bool_]:
    """Budgets of the grid up to the first that holds `end` tokens."""
    return np.arange(budget_B.size) <= np.searchsorted(budget_B, end)


def _columns(tally: Tally, measures: Measures, budgets: Sequence[float]) -> dict[str, Floats]:
    """The metrics that are means over problems: one number for each problem."""
    columns = {name: measures[name] for name in SCALARS if name in measures}
    if "quarters" in measures:
        columns["late_gain"] = measures["quarters"][:, -1]
    for budget in budgets:
        index = int(np.searchsorted(tally.lens.budget_B, budget))
        columns[f"accuracy@{budget:g}"] = measures["accuracy"][:, index]
        columns[f"regret@{budget:g}"] = measures["regret"][:, index]
        columns[f"anytime@{budget:g}"] = 1.0 - columns[f"regret@{budget:g}"]
    return columns


def _model(context: _Context, model: str) -> ModelSummary:
    columns, trace_N = context.columns[model], context.tally.num_drawn(model)
    by_third = {
        name: _estimated(
            {name: column[rows] for name, column in columns.items()}, trace_N[rows], context.count_RN[:, rows]
        )
        for name, rows in context.thirds.items()
    }
    return ModelSummary(
        context.name(model),
        int((trace_N > 0).sum()),
        int(trace_N.sum()),
        _estimated(columns, trace_N, context.count_RN) | _reached(context, model, trace_N),
        _curves(context, model),
        by_third,
    )


def _direct_model(context: _Context, model: str) -> ModelSummary:
    """A model that answers without thinking."""
    measures, answer_N = context.measures[model], context.tally.num_drawn(model)
    known_NY = ~np.isnan(measures["direct_votes"])
    # A size that few problems reach is another set of problems: votes end where half of them have no more answers.
    there_Y: NDArray[np.bool_] = known_NY.sum(axis=0) * 2 >= max(int(known_NY.any(axis=1).sum()), 1)
    votes = CurveSummary(
        tuple(np.nanmean(measures["direct_tokens"][:, there_Y], axis=0).tolist()),
        tuple(estimates(measures["direct_votes"][:, there_Y], answer_N, context.count_RN)),
    )
    metrics = _estimated(context.columns[model], answer_N, context.count_RN) | _reached(context, model, answer_N)
    num_problems = int(known_NY.any(axis=1).sum())
    return ModelSummary(context.name(model), num_problems, int(answer_N.sum()), metrics, {"votes": votes}, {})


def _estimated(columns: Measures, trace_N: NDArray[np.int64], count_RN: Counts) -> dict[str, Estimate]:
    value_NQ = np.stack(list(columns.values()), axis=1)
    return dict(zip(columns, estimates(value_NQ, trace_N, count_RN), strict=True))


def _reached(context: _Context, model: str, trace_N: NDArray[np.int64]) -> dict[str, Estimate]:
    """Tokens to reach each target that the model reaches; of the mean curve, not a mean of tokens."""
    return _tokens_to(context, [context.measures[model]["accuracy"]], trace_N)


def _tokens_to(context: _Context, accuracies: Sequence[Floats], trace_N: NDArray[np.int64]) -> dict[str, Estimate]:
    """Tokens to reach each target, of one model's `accuracy_NB`; or how many more a second needs than the first."""
    rows = ~np.isnan(np.stack(accuracies)).any(axis=(0, 2))
    if not rows.any():
        return {}
    whole_1N, count_RN = np.ones((1, int(rows.sum())), np.int32), context.count_RN[:, rows]
    found: dict[str, Estimate] = {}
    for target in context.targets:
        token_1, token_R = (
            [
                tokens_to_reach(context.tally.lens.budget_B, resampled_means(each[rows], count), target)
                for each in accuracies
            ]
            for count in (whole_1N, count_RN)
        )
        with np.errstate(invalid="ignore"):
            [value], sample_R = (each[-1] - each[0] if len(each) > 1 else each[0] for each in (token_1, token_R))
        found[f"tokens_to@{target:g}"] = estimate(
            value, sample_R, problems=int(rows.sum()), traces=int(trace_N[rows].sum())
        )
    return found


def _curves(context: _Context, model: str) -> dict[str, CurveSummary]:
    tally, measures = context.tally, context.measures[model]
    budget_B, trace_N = tally.lens.budget_B, tally.num_drawn(model)
    inside_SB = [_inside(tally, measures, end) for end in tally.ends(model)]
    inside = inside_SB[0]
    x = tuple(budget_B[inside].tolist())

    def curve(value_NX: Floats, at: tuple[float, ...] = x) -> CurveSummary:
        return CurveSummary(at, tuple(estimates(value_NX, trace_N, context.count_RN)))

    found = {name: curve(measures[name][:, inside]) for name in ("accuracy", "regret")}
    for index, size in enumerate(tally.lens.sizes):
        if size > 1:
            votes_NB = measures["votes"][:, index, inside_SB[index]]
            found[f"maj@{size}"] = curve(votes_NB, tuple(budget_B[inside_SB[index]].tolist()))
        vote_NE = measures["index_votes"][:, index]
        # An index that few problems reach is another set of problems: the curve ends where half of them have ended.
        there_E = np.flatnonzero((~np.isnan(vote_NE)).sum(axis=0) * 2 >= (trace_N > 0).sum())
        if there_E.size:
            at_E = np.nanmean(measures["index_tokens"][:, index][:, there_E], axis=0)
            found[f"episodes:maj@{size}"] = curve(vote_NE[:, there_E], tuple(at_E.tolist()))
    for name in ("extended_accuracy", "extended_regret"):
        if not np.isnan(measures[name]).all():
            end = np.nanmax(measures["extended_tokens"])
            further = (budget_B >= budget_B[inside].min(initial=np.inf)) & _up_to(budget_B, end)
            found[name] = curve(measures[name][:, further], tuple(budget_B[further].tolist()))
    twice = tuple(2 * tokens for tokens in x)
    for kind in KINDS:
        continued_NB, restarted_NB = (measures[f"{kind}:{way}"][:, inside] for way in ("continued", "restarted"))
        found[f"{kind}:continued"] = curve(continued_NB, twice)
        found[f"{kind}:restarted"] = curve(restarted_NB, twice)
        found[f"{kind}:difference"] = curve(continued_NB - restarted_NB, twice)
    found["histogram"] = curve(measures["histogram"], tuple(np.round(np.arange(-1.0, 1.05, 0.1), 1).tolist()))
    found["quarters"] = curve(measures["quarters"], (1.0, 2.0, 3.0, 4.0))
    for name, rows in context.thirds.items():
        points = estimates(measures["quarters"][rows], trace_N[rows], context.count_RN[:, rows])
        found[f"{name}:quarters"] = CurveSummary((1.0, 2.0, 3.0, 4.0), tuple(points))
    return _drawn(found)


def _drawn(curves: Mapping[str, CurveSummary]) -> dict[str, CurveSummary]:
    """Those with a point."""
    return {name: each for name, each in curves.items() if any(point.value is not None for point in each.points)}


def _difference(context: _Context, first: str, second: str) -> Difference:
    tally, measures = context.tally, [context.measures[model] for model in (first, second)]
    trace_N = tally.num_drawn(first) + tally.num_drawn(second)
    columns = context.columns[first]
    apart = {name: column - columns[name] for name, column in context.columns[second].items() if name in columns}
    metrics = _estimated(apart, trace_N, context.count_RN)
    metrics |= _tokens_to(context, [each["accuracy"] for each in measures], trace_N)
    shown_B = _inside(tally, measures[1], tally.ends(second)[0])
    x = tuple(tally.lens.budget_B[shown_B].tolist())
    vote_NSB = measures[1]["votes"] - measures[0]["votes"]
    curves = {
        f"maj@{size}" if size > 1 else "accuracy": CurveSummary(
            x, tuple(estimates(vote_NSB[:, index][:, shown_B], trace_N, context.count_RN))
        )
        for index, size in enumerate(tally.lens.sizes)
    }
    return Difference(context.name(first), context.name(second), metrics, _drawn(curves))
