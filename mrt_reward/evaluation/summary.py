"""From sums over traces to the numbers of a report, each with its interval and with what it rests on.

Dimension key: N problems · Q quantities · R resamples · B budgets · X points of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation import direct_summary
from mrt_reward.evaluation.bootstrap import (
    CurveSummary,
    Estimate,
    estimate,
    estimates,
    resample_counts,
    resampled_means,
)
from mrt_reward.evaluation.curves import tokens_to_reach
from mrt_reward.evaluation.direct_summary import AccuracyColumns, CurveDifference, DirectSummary, summarise_direct
from mrt_reward.evaluation.measures import KINDS, SCALARS
from mrt_reward.evaluation.tally import Tally, terciles

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9)
MAX_COMPARED = 6
"""Differences are given for every pair of this many models at most; beyond, against the first model only."""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model.

    Attributes:
        name: of the model.
        problems: it has traces of.
        traces: that were scored.
        metrics: by name, `name@budget` where a budget belongs to it.
        curves: by name.
        terciles: metrics again, of the hard, medium and easy third of the problems.

    """

    name: str
    problems: int
    traces: int
    metrics: Mapping[str, Estimate]
    curves: Mapping[str, CurveSummary]
    terciles: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Second model minus first, on the problems that both have, resampled together."""

    first: str
    second: str
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that a report shows.

    Attributes:
        budgets: in tokens, of the metrics with a budget.
        waste_threshold: below which an episode earned nothing.
        models: in order of appearance.
        differences: between them.
        weighted_votes: whether votes counted by 2^(mean log-probability) instead of one each.
        direct: models that answer without thinking.
        advantages: of each model that thinks over each one that does not.

    """

    budgets: tuple[float, ...]
    waste_threshold: float
    models: tuple[ModelSummary, ...]
    differences: tuple[Difference, ...]
    direct: tuple[DirectSummary, ...] = ()
    advantages: tuple[CurveDifference, ...] = ()
    weighted_votes: bool = False


def summarise(
    tally: Tally, *, budgets: Sequence[float] = (), targets: Sequence[float] = TARGETS, seed: int = 0
) -> Summary:
    """Read everything off the sums.

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
    means = {model: tally.means(model) for model in tally.models}
    chosen = tuple(budgets) or _default_budgets(tally, means)
    grid = tally.layout.budget_B
    if not set(chosen) <= set(grid.tolist()):
        raise ValueError(f"budgets {chosen} are not all on the grid: give them to the tally's lens too")
    count_RN = resample_counts(len(tally.problems), seed=seed)
    thirds = terciles(tally.difficulty())
    columns = {model: _columns(tally, means[model], chosen) for model in tally.models}
    context = _Context(tally, count_RN, thirds, tuple(targets), tally.shown_names)
    models = tuple(_model(context, model, means[model], columns[model]) for model in tally.models)
    names = tally.models
    pairs = list(combinations(names, 2)) if len(names) <= MAX_COMPARED else [(names[0], name) for name in names[1:]]
    differences = tuple(_difference(context, pair, means, columns) for pair in pairs)
    direct, advantages = _direct(context, means, {each: int(np.searchsorted(grid, each)) for each in chosen})
    lens = tally.layout.lens
    return Summary(chosen, lens.waste_threshold, models, differences, direct, advantages, lens.weighted)


@dataclass(frozen=True, slots=True)
class _Context:
    tally: Tally
    count_RN: Counts
    thirds: Mapping[str, NDArray[np.intp]]
    targets: tuple[float, ...]
    names: Mapping[str, str]


def _default_budgets(tally: Tally, means: Mapping[str, Floats]) -> tuple[float, ...]:
    longest = max(_longest(tally, value_NQ) for value_NQ in means.values())
    most = float(np.clip(2.0 ** np.ceil(np.log2(max(longest, 1.0))), 64.0, tally.layout.budget_B[-1]))
    return (most / 4, most / 2, most)


def _longest(tally: Tally, value_NQ: Floats) -> float:
    """Longest mean x at any episode index, in tokens; where curves end."""
    index_NSE = tally.layout.take("index_tokens", value_NQ)[:, 0]
    return float(np.nanmax(index_NSE)) if not np.isnan(index_NSE).all() else 1.0


def _inside(tally: Tally, value_NQ: Floats, end: float) -> NDArray[np.bool_]:
    """Budgets to draw: from where the empty prefix can be answered to where the longest trace ends."""
    first = np.nanmin(tally.layout.take("index_tokens", value_NQ)[:, 0]) if _longest(tally, value_NQ) > 1 else 0.0
    return (tally.layout.budget_B >= first) & _up_to(tally.layout.budget_B, end)


def _up_to(budget_B: Floats, end: float) -> NDArray[np.bool_]:
    """Budgets of the grid up to the first that holds `end` tokens."""
    return np.arange(budget_B.size) <= np.searchsorted(budget_B, end)


def _columns(tally: Tally, value_NQ: Floats, budgets: Sequence[float]) -> dict[str, Floats]:
    """The metrics that are means over problems: one number for each problem."""
    take = tally.layout.take
    columns = {name: take("scalars", value_NQ)[:, index] for index, name in enumerate(SCALARS)}
    columns["late_gain"] = take("quarters", value_NQ)[:, -1]
    for budget in budgets:
        index = int(np.searchsorted(tally.layout.budget_B, budget))
        columns[f"accuracy@{budget:g}"] = take("accuracy", value_NQ)[:, index]
        columns[f"regret@{budget:g}"] = take("regret", value_NQ)[:, index]
        columns[f"anytime@{budget:g}"] = 1.0 - columns[f"regret@{budget:g}"]
    return columns


def _model(context: _Context, model: str, value_NQ: Floats, columns: Mapping[str, Floats]) -> ModelSummary:
    trace_N = context.tally.traces(model)
    metrics = _estimated(columns, trace_N, context.count_RN)
    metrics |= _reached(context, value_NQ, trace_N)
    by_third = {
        name: _estimated(
            {name: column[rows] for name, column in columns.items()}, trace_N[rows], context.count_RN[:, rows]
        )
        for name, rows in context.thirds.items()
    }
    curves = _curves(context, model, value_NQ)
    return ModelSummary(context.names[model], int((trace_N > 0).sum()), int(trace_N.sum()), metrics, curves, by_third)


def _estimated(columns: Mapping[str, Floats], trace_N: NDArray[np.int64], count_RN: Counts) -> dict[str, Estimate]:
    value_NQ = np.stack(list(columns.values()), axis=1)
    return dict(zip(columns, estimates(value_NQ, trace_N, count_RN), strict=True))


def _reached(context: _Context, value_NQ: Floats, trace_N: NDArray[np.int64]) -> dict[str, Estimate]:
    """Tokens to reach each target that the model reaches; of the mean curve, not a mean of tokens."""
    layout = context.tally.layout
    accuracy_NB = layout.take("accuracy", value_NQ)
    rows = ~np.isnan(accuracy_NB).any(axis=1)
    if not rows.any():
        return {}
    everything = np.ones((1, int(rows.sum())), np.int32)
    mean_1B = resampled_means(accuracy_NB[rows], everything)
    mean_RB = resampled_means(accuracy_NB[rows], context.count_RN[:, rows])
    found: dict[str, Estimate] = {}
    for target in context.targets:
        [tokens] = tokens_to_reach(layout.budget_B, mean_1B, target)
        sample_R = tokens_to_reach(layout.budget_B, mean_RB, target)
        found[f"tokens_to@{target:g}"] = estimate(
            tokens, sample_R, problems=int(rows.sum()), traces=int(trace_N[rows].sum())
        )
    return found


def _curves(context: _Context, model: str, value_NQ: Floats) -> dict[str, CurveSummary]:
    tally = context.tally
    take, trace_N = tally.layout.take, tally.traces(model)
    budget_B = tally.layout.budget_B
    inside_SB = [_inside(tally, value_NQ, end) for end in tally.end_S[model]]
    inside = inside_SB[0]
    x = tuple(budget_B[inside].tolist())

    def curve(value_NX: Floats, at: tuple[float, ...] = x) -> CurveSummary:
        return CurveSummary(at, tuple(estimates(value_NX, trace_N, context.count_RN)))

    found = {name: curve(take(name, value_NQ)[:, inside]) for name in ("accuracy", "regret")}
    for index, size in enumerate(tally.layout.lens.sizes):
        if size > 1:
            votes_NB = take("votes", value_NQ)[:, index, inside_SB[index]]
            found[f"maj@{size}"] = curve(votes_NB, tuple(budget_B[inside_SB[index]].tolist()))
        index_NE = take("index_votes", value_NQ)[:, index]
        # An index that few problems reach is another set of problems: the curve ends where half of them have ended.
        there_E = np.flatnonzero((~np.isnan(index_NE)).sum(axis=0) * 2 >= (trace_N > 0).sum())
        if there_E.size:
            at_E = np.nanmean(take("index_tokens", value_NQ)[:, index][:, there_E], axis=0)
            found[f"episodes:maj@{size}"] = curve(index_NE[:, there_E], tuple(at_E.tolist()))
    for name in ("extended_accuracy", "extended_regret"):
        if not np.isnan(take(name, value_NQ)).all():
            end = np.nanmax(take("scalars", value_NQ)[:, SCALARS.index("extended_tokens")])
            further = (budget_B >= budget_B[inside].min(initial=np.inf)) & _up_to(budget_B, end)
            found[name] = curve(take(name, value_NQ)[:, further], tuple(budget_B[further].tolist()))
    for kind in KINDS:
        continued_NB, restarted_NB = (each[:, inside] for each in tally.restarts(model, kind))
        twice = tuple(2 * tokens for tokens in x)
        found[f"{kind}:continued"] = curve(continued_NB, twice)
        found[f"{kind}:restarted"] = curve(restarted_NB, twice)
        found[f"{kind}:difference"] = curve(continued_NB - restarted_NB, twice)
    found["histogram"] = curve(take("histogram", value_NQ), tuple(np.round(np.arange(-1.0, 1.05, 0.1), 1).tolist()))
    found["quarters"] = curve(take("quarters", value_NQ), (1.0, 2.0, 3.0, 4.0))
    for name, rows in context.thirds.items():
        points = estimates(take("quarters", value_NQ)[rows], trace_N[rows], context.count_RN[:, rows])
        found[f"{name}:quarters"] = CurveSummary((1.0, 2.0, 3.0, 4.0), tuple(points))
    return {name: each for name, each in found.items() if any(point.value is not None for point in each.points)}


def _direct(
    context: _Context, means: Mapping[str, Floats], columns: Mapping[float, int]
) -> tuple[tuple[DirectSummary, ...], tuple[CurveDifference, ...]]:
    """Models that answer without thinking, and what each model gains over them by thinking."""
    tally = context.tally
    reading = AccuracyColumns(tally.layout.budget_B, columns, context.count_RN)
    tables = {name: tally.direct.table(name, tally.problems) for name in tally.direct.models}
    advantages: list[CurveDifference] = []
    for model, value_NQ in means.items():
        vote_NSB = tally.layout.take("votes", value_NQ)
        thinking = {"accuracy": tally.layout.take("accuracy", value_NQ)}
        thinking |= {f"maj@{size}": vote_NSB[:, at] for at, size in enumerate(tally.layout.lens.sizes) if size > 1}
        inside_B, trace_N = _inside(tally, value_NQ, tally.end_S[model][0]), tally.traces(model)
        advantages += [
            direct_summary.advantage(
                (context.names[model], context.names[name]), thinking, trace_N, table, inside_B, reading
            )
            for name, table in tables.items()
        ]
    return tuple(summarise_direct(context.names[name], table, reading) for name, table in tables.items()), tuple(
        advantages
    )


def _difference(
    context: _Context, pair: tuple[str, str], means: Mapping[str, Floats], columns: Mapping[str, Mapping[str, Floats]]
) -> Difference:
    first, second = pair
    traces_N = context.tally.traces(first) + context.tally.traces(second)
    apart = {name: columns[second][name] - column for name, column in columns[first].items()}
    metrics = _estimated(apart, traces_N, context.count_RN)
    layout = context.tally.layout
    accuracy = [layout.take("accuracy", means[name]) for name in pair]
    rows = ~np.isnan(accuracy[0] + accuracy[1]).any(axis=1)
    if rows.any():
        everything = np.ones((1, int(rows.sum())), np.int32)
        for target in context.targets:
            token_R, token_1 = (
                [tokens_to_reach(layout.budget_B, resampled_means(each[rows], count), target) for each in accuracy]
                for count in (context.count_RN[:, rows], everything)
            )
            with np.errstate(invalid="ignore"):
                sample_R, [value] = token_R[1] - token_R[0], token_1[1] - token_1[0]
            metrics[f"tokens_to@{target:g}"] = estimate(
                value, sample_R, problems=int(rows.sum()), traces=int(traces_N[rows].sum())
            )
    return Difference(context.names[first], context.names[second], metrics)
