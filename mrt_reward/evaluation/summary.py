"""The numbers of a report, each with its interval and with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrt_reward.evaluation.bootstrap import CurveSummary, Estimate


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model.

    Attributes:
        name: of the model.
        problems: it has traces of, or answered without thinking.
        traces: that were scored; of a model that does not think its answers.
        metrics: by name, `name@budget` where a budget belongs to it.
        curves: by name; of a model that does not think `votes`: maj@k, x being the mean tokens of prompt and k answers.
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
    """Second model minus first, on the problems that both have, resampled together.

    Attributes:
        first: its name.
        second: its name.
        metrics: by name.
        curves: `accuracy` and `maj@k` against budget, up to where the second model's traces end.

    """

    first: str
    second: str
    metrics: Mapping[str, Estimate]
    curves: Mapping[str, CurveSummary]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that a report shows.

    Attributes:
        budgets: in tokens, of the metrics with a budget.
        waste_threshold: below which an episode earned nothing.
        models: in order of appearance.
        differences: between them.
        weighted_votes: whether votes counted by 2^(mean log-probability) instead of one each.
        direct: models that answer without thinking, and vote.
        direct_sizes: k of each point of their curves `votes`, and of more.
        gains: each model that thinks minus each one that does not.

    """

    budgets: tuple[float, ...]
    waste_threshold: float
    models: tuple[ModelSummary, ...]
    differences: tuple[Difference, ...]
    direct: tuple[ModelSummary, ...] = ()
    direct_sizes: tuple[int, ...] = ()
    gains: tuple[Difference, ...] = ()
    weighted_votes: bool = False
