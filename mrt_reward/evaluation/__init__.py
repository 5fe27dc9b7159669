"""The evaluation toolkit, for scripts and notebooks.

    from pathlib import Path
    from mrt_reward import evaluation

    report = evaluation.read_report([Path("out/results.jsonl")], evaluation.ReportSpec())
    for model in report.summary.models:
        print(model.name, model.metrics["final"], model.curves["accuracy"])

    pool = evaluation.read_pool([Path("out/results.jsonl")])
    kept = [each for each in evaluation.judge(pool.traces, evaluation.StarSettings()) if each.fate.is_kept]
    budget = evaluation.plan_round(pool.traces, evaluation.CurriculumSettings()).budget

What is needed is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrt_reward.evaluation.bootstrap import Estimate
    from mrt_reward.evaluation.curriculum import CurriculumSettings, Schedule, plan_round
    from mrt_reward.evaluation.datasets.backtracking import BacktrackSettings, backtrack_row, backtracks_from
    from mrt_reward.evaluation.datasets.pairs import PairSettings, pair_row, step_pairs
    from mrt_reward.evaluation.datasets.prefixes import PrefixSettings, draw_cuts, prefix_rows
    from mrt_reward.evaluation.datasets.prompts import Prompts
    from mrt_reward.evaluation.datasets.star import StarSettings, chat_row, judge, text_row
    from mrt_reward.evaluation.datasets.star_report import star_report
    from mrt_reward.evaluation.figures import save_figures
    from mrt_reward.evaluation.folder import Folder
    from mrt_reward.evaluation.forcing import ForcingSpec
    from mrt_reward.evaluation.measures import Lens
    from mrt_reward.evaluation.pool import Pool, ReadOptions, read_pool
    from mrt_reward.evaluation.prover_choice import recommend
    from mrt_reward.evaluation.provers import ProverMeasure, Scores, common_traces, measure
    from mrt_reward.evaluation.report import Report, ReportSpec, make_report, read_report
    from mrt_reward.evaluation.result import Result
    from mrt_reward.evaluation.run import Run, RunPlan
    from mrt_reward.evaluation.sampling import SamplingSpec
    from mrt_reward.evaluation.summarising import summarise
    from mrt_reward.evaluation.summary import Difference, ModelSummary, Summary
    from mrt_reward.evaluation.tally import Tally
    from mrt_reward.evaluation.traces import Results

_HOMES = {
    "BacktrackSettings": "datasets.backtracking",
    "CurriculumSettings": "curriculum",
    "Difference": "summary",
    "Estimate": "bootstrap",
    "Folder": "folder",
    "ForcingSpec": "forcing",
    "Lens": "measures",
    "ModelSummary": "summary",
    "PairSettings": "datasets.pairs",
    "Pool": "pool",
    "PrefixSettings": "datasets.prefixes",
    "Prompts": "datasets.prompts",
    "ProverMeasure": "provers",
    "ReadOptions": "pool",
    "Report": "report",
    "ReportSpec": "report",
    "Result": "result",
    "Results": "traces",
    "Run": "run",
    "RunPlan": "run",
    "SamplingSpec": "sampling",
    "Schedule": "curriculum",
    "Scores": "provers",
    "StarSettings": "datasets.star",
    "Summary": "summary",
    "Tally": "tally",
    "backtrack_row": "datasets.backtracking",
    "backtracks_from": "datasets.backtracking",
    "chat_row": "datasets.star",
    "common_traces": "provers",
    "draw_cuts": "datasets.prefixes",
    "judge": "datasets.star",
    "make_report": "report",
    "measure": "provers",
    "pair_row": "datasets.pairs",
    "plan_round": "curriculum",
    "prefix_rows": "datasets.prefixes",
    "read_pool": "pool",
    "read_report": "report",
    "recommend": "prover_choice",
    "save_figures": "figures",
    "star_report": "datasets.star_report",
    "step_pairs": "datasets.pairs",
    "summarise": "summarising",
    "text_row": "datasets.star",
}

__all__ = [
    "BacktrackSettings",
    "CurriculumSettings",
    "Difference",
    "Estimate",
    "Folder",
    "ForcingSpec",
    "Lens",
    "ModelSummary",
    "PairSettings",
    "Pool",
    "PrefixSettings",
    "Prompts",
    "ProverMeasure",
    "ReadOptions",
    "Report",
    "ReportSpec",
    "Result",
    "Results",
    "Run",
    "RunPlan",
    "SamplingSpec",
    "Schedule",
    "Scores",
    "StarSettings",
    "Summary",
    "Tally",
    "backtrack_row",
    "backtracks_from",
    "chat_row",
    "common_traces",
    "draw_cuts",
    "judge",
    "make_report",
    "measure",
    "pair_row",
    "plan_round",
    "prefix_rows",
    "read_pool",
    "read_report",
    "recommend",
    "save_figures",
    "star_report",
    "step_pairs",
    "summarise",
    "text_row",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
