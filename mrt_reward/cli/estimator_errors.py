"""What `compare-provers --reference` prints: how far each estimator is from the reference, and what it spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from mrt_reward.core.progress import WasteOptions
from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.estimators import EstimatorError


def show_errors(errors: Sequence[EstimatorError], reference: str) -> None:
    """Print one row for each estimator: errors fall to the right of what they cost."""
    table = Table(title=f"error against {reference}, 95 % intervals over problems")
    idle = f"|progress| below {WasteOptions().waste_threshold:g}"
    columns: dict[str, Callable[[EstimatorError], str]] = {
        "estimator": lambda each: each.name,
        "answer tokens a trace": lambda each: f"{each.answer_tokens:,.0f}",
        "squared error of progress": lambda each: with_interval(each.progress),
        "of values": lambda each: with_interval(each.values),
        idle: lambda each: with_interval(each.idle),
        "intervals that hold progress": lambda each: _share(each.covered_progress),
        "values": lambda each: _share(each.covered_values),
    }
    for what in columns:
        table.add_column(what, justify="left" if what == "estimator" else "right")
    for each in errors:
        table.add_row(*(cell(each) for cell in columns.values()))
    Console().print(table)


def with_interval(estimate: Estimate) -> str:
    """A number and its interval, as far as they are known."""
    if estimate.value is None:
        return "not known"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _share(estimate: Estimate) -> str:
    return "none given" if estimate.value is None else f"{estimate.value:.1%}"
