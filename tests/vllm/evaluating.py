"""A small evaluation of the bundled model, greedy throughout, so that engines can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mrt_reward.errors import TraceError
from mrt_reward.evaluation import Results
from mrt_reward.evaluation.folder import RESULTS, Folder
from mrt_reward.evaluation.forcing import ForcingSpec
from mrt_reward.evaluation.run import Run, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec
from mrt_reward.evaluation.traces import Result
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini.island import sample_problems
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.protocols import Prover
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace

NUM_EXTENSIONS = 2
SAMPLING = SamplingSpec(num_traces=1, max_tokens=180, temperature=0.0, top_p=1.0)
PLAN = RunPlan(
    "mini",
    ScoreOptions(estimator=Rollouts("rollouts", num_samples=2, temperature=0.0, keep_answers=True)),
    SAMPLING,
    ForcingSpec(NUM_EXTENSIONS, SAMPLING, max_tokens=24),
)


@dataclass(frozen=True)
class _Problem:
    id: str
    trace: Trace
    extra: dict[str, object] = field(default_factory=dict[str, object])
    error: TraceError | None = None


async def evaluated(prover: Prover, path: Path, *, num_problems: int = 4) -> Sequence[Result]:
    """Sample, force on, and score: what `mrt-reward evaluate --extend` does; by problem."""
    problems = [
        _Problem(f"p{place}", Trace(f"p{place}", problem=problem.text, answer=(str(problem.answer),)))
        for place, problem in enumerate(sample_problems(num_problems, seed=11))
    ]
    scorer = Scorer(prover, {"exact": ExactGrader()}, spellings)
    with Folder(path) as folder:
        counts = await Run(scorer, folder, PLAN, lambda _: None)(problems)
    assert (counts.sampled, counts.scored, counts.failed) == (num_problems, num_problems, 0), counts.first_failure
    return sorted(Results([path / RESULTS]), key=lambda result: result.problem)
