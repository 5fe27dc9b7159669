"""What `compare-provers --reference` prints: how far each estimator is from the reference, and what it spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from mrt_reward.cli.printed import show_table
from mrt_reward.core.progress import WasteOptions
from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.estimators import Bin, EstimatorError, compare, posterior_estimates, raw_estimates
from mrt_reward.evaluation.provers import Scores


def errors_against(truth: Scores, scores: Sequence[Scores]) -> list[EstimatorError]:
    """Of each, and of the posterior along the trace where it has one; all of the same traces (`common_traces`)."""
    kinds = [estimates for each in scores for estimates in (raw_estimates(each), posterior_estimates(each))]
    return [compare(estimates, truth) for estimates in kinds if estimates is not None]


ENOUGH = 30
"""Fewest prefixes or episodes of a bin whose share is shown."""


def show_errors(errors: Sequence[EstimatorError], reference: str) -> None:
    """Print one row for each estimator: errors fall to the right of what they cost."""
    idle = f"|progress| below {WasteOptions().waste_threshold:g}"
    columns: dict[str, Callable[[EstimatorError], str]] = {
        "answer tokens a trace": lambda each: f"{each.answer_tokens:,.0f}",
        "squared error of progress": lambda each: with_interval(each.progress),
        "squared error of values": lambda each: with_interval(each.values),
        idle: lambda each: with_interval(each.idle),
        "intervals that hold progress": lambda each: _share(each.covered_progress),
        "progress, lowest in a bin": lambda each: _lowest(each.progress_bins),
        "intervals that hold values": lambda each: _share(each.covered_values),
        "values, lowest in a bin": lambda each: _lowest(each.value_bins),
    }
    rows = {each.name: {head: cell(each) for head, cell in columns.items()} for each in errors}
    show_table(Console(), f"error against {reference}, 95 % intervals over problems", "estimator", rows)


def with_interval(estimate: Estimate) -> str:
    """A number and its interval, as far as they are known."""
    if estimate.value is None:
        return "not known"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _lowest(bins: Sequence[Bin]) -> str:
    """Smallest share of the bins that hold enough to tell."""
    shares = [each.covered for each in bins if each.covered is not None and each.num >= ENOUGH]
    return f"{min(shares):.1%}" if shares else "not known"


def _share(estimate: Estimate) -> str:
    return "none given" if estimate.value is None else f"{estimate.value:.1%}"
