"""On the bundled model the truth is known: its own answers can be enumerated, so every curve has an exact one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mrt_reward.config import ServeSettings
from mrt_reward.evaluation.curves import accuracy_curve, regret_curve
from mrt_reward.evaluation.folder import RESULTS, Folder
from mrt_reward.evaluation.report import ReportSpec, read_report
from mrt_reward.evaluation.run import Run, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec
from mrt_reward.evaluation.traces import Result, Results
from mrt_reward.mini.exact import answer_probabilities
from mrt_reward.mini.island import parse_problem, sample_problems
from mrt_reward.mini.policy import POLICY_BUDGET_TOKENS, load_model
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.types import Trace
from mrt_reward.wiring import build_scorer
from tests.evaluation.conftest import InputRow

Floats = NDArray[np.float64]

NUM_PROBLEMS, NUM_TRACES, NUM_ANSWERS = 24, 4, 8
SIZES = (1, 2, 4, 8)


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _splits(total - first, parts - 1):
            yield (first, *rest)


def exact_majority(probability_A: Floats, right: int, size: int) -> float:
    """maj@k when k answers are drawn anew; what is none of the candidates agrees with nobody."""
    rest = max(0.0, 1.0 - float(probability_A.sum()))
    chance = [*probability_A.tolist(), rest]
    won = 0.0
    for counts in _splits(size, len(chance)):
        ways = math.factorial(size) / math.prod(map(math.factorial, counts))
        weight = ways * math.prod(p**count for p, count in zip(chance, counts, strict=True))
        votes = [*counts[:-1], *[1] * counts[-1]]
        best = max(votes)
        if counts[right] == best:
            won += weight / votes.count(best)
    return won


@dataclass(frozen=True)
class Truth:
    """What the curves of one trace would be with infinitely many answers."""

    problem: str
    curves: dict[str, Floats]


def truth(result: Result, budget_B: Floats, model: tuple[object, object]) -> Truth:
    assert result.trace is not None
    assert result.trace.problem is not None
    problem = parse_problem(result.trace.problem)
    prefixes = [result.prefix(j) for j in range(len(result.scored.values))]
    probability_PA = answer_probabilities(*model, problem, prefixes, problem.candidates)  # type: ignore[arg-type]
    right = problem.candidates.index(problem.answer)
    # An answer is a brace, a place and a brace: three tokens, as the mean over answers is up to the odd other one.
    x_P = np.array(result.scored.prefix_tokens, np.float64)
    curves = {"regret": regret_curve(x_P + 3, probability_PA[:, right], budget_B)}
    for size in SIZES:
        value_P = np.array([exact_majority(probability_A, right, size) for probability_A in probability_PA])
        name = "accuracy" if size == 1 else f"maj@{size}"
        curves[name] = accuracy_curve(x_P + 3 * size, value_P, budget_B)
    return Truth(result.problem, curves)


@pytest.mark.slow
async def test_every_curve_holds_the_exact_one_within_its_interval(tmp_path: Path) -> None:
    rows = [
        InputRow(f"p{place}", Trace(f"p{place}", problem=problem.text, answer=(str(problem.answer),)))
        for place, problem in enumerate(sample_problems(NUM_PROBLEMS, seed=11))
    ]
    options = ScoreOptions(estimator=Rollouts("rollouts", NUM_ANSWERS, 1.0, 1.0, keep_answers=True))
    sampling = SamplingSpec(NUM_TRACES, POLICY_BUDGET_TOKENS, temperature=1.0, top_p=1.0)
    scorer = build_scorer(ServeSettings())
    try:
        with Folder(tmp_path) as folder:
            counts = await Run(scorer, folder, RunPlan("mini", options, sampling), lambda _: None)(rows)
    finally:
        await scorer.close()
    assert (counts.scored, counts.failed) == (NUM_PROBLEMS * NUM_TRACES, 0)
    [told] = read_report([tmp_path / RESULTS], ReportSpec()).summary.models
    budget_B = np.array(told.curves["accuracy"].x)
    model = load_model()
    exact = [truth(result, budget_B, model) for result in Results([tmp_path / RESULTS])]
    problems = sorted({one.problem for one in exact})
    for name in ("accuracy", "regret", "maj@2", "maj@4", "maj@8"):
        by_problem = [np.mean([one.curves[name] for one in exact if one.problem == each], axis=0) for each in problems]
        true_B = np.mean(by_problem, axis=0)
        points = told.curves[name].points
        inside = [
            point.low is not None and point.high is not None and point.low <= value <= point.high
            for point, value in zip(points, true_B.tolist(), strict=True)
        ]
        assert np.mean(inside) >= 0.9, name
        # The interval is of problems; of the answers alone the curve is nearer. 8 answers are 8 / k independent votes.
        size = int(name.removeprefix("maj@")) if name.startswith("maj@") else 1
        spread_B = np.mean([one.curves[name] * (1 - one.curves[name]) for one in exact], axis=0)
        error_B = np.sqrt(spread_B * size / NUM_ANSWERS / len(exact))
        value_B = np.array([point.value or 0.0 for point in points])
        assert np.all(np.abs(value_B - true_B) <= 4 * error_B + 1e-9), name
        if size == 1:
            assert np.abs(value_B - true_B).max() < 0.06, name
