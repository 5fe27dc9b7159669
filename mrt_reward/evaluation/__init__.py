"""The evaluation toolkit, for scripts and notebooks.

    from pathlib import Path
    from mrt_reward import evaluation

    report = evaluation.read_report([Path("out/results.jsonl")], evaluation.ReportSpec())
    for model in report.summary.models:
        print(model.name, model.metrics["final"], model.curves["accuracy"])

What is needed is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrt_reward.evaluation.bootstrap import Estimate
    from mrt_reward.evaluation.figures import save_figures
    from mrt_reward.evaluation.measures import Lens
    from mrt_reward.evaluation.report import Report, ReportSpec, make_report, read_report
    from mrt_reward.evaluation.summary import Difference, ModelSummary, Summary, summarise
    from mrt_reward.evaluation.tally import Tally
    from mrt_reward.evaluation.traces import Result, Results

_HOMES = {
    "Difference": "summary",
    "Estimate": "bootstrap",
    "Lens": "measures",
    "ModelSummary": "summary",
    "Report": "report",
    "ReportSpec": "report",
    "Result": "traces",
    "Results": "traces",
    "Summary": "summary",
    "Tally": "tally",
    "make_report": "report",
    "read_report": "report",
    "save_figures": "figures",
    "summarise": "summary",
}

__all__ = [
    "Difference",
    "Estimate",
    "Lens",
    "ModelSummary",
    "Report",
    "ReportSpec",
    "Result",
    "Results",
    "Summary",
    "Tally",
    "make_report",
    "read_report",
    "save_figures",
    "summarise",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
