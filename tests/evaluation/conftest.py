from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mrt_reward.errors import TraceError
from mrt_reward.evaluation.folder import Folder
from mrt_reward.evaluation.forcing import ForcingSpec
from mrt_reward.evaluation.run import Run, RunCounts, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec
from mrt_reward.options import Rollouts, ScoreOptions, TokenSegmenter
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from tests.service.conftest import WordGrader, speller

OPTIONS = ScoreOptions(
    segmenter=TokenSegmenter("tokens", num_tokens=4),
    estimator=Rollouts("rollouts", num_samples=4, keep_answers=True),
    terminator="official",
)
SAMPLING = SamplingSpec(num_traces=3, max_tokens=40)


@dataclass(frozen=True)
class InputRow:
    id: str
    trace: Trace | None
    extra: dict[str, object] = field(default_factory=dict[str, object])
    error: TraceError | None = None


class CountingProver(ScriptedProver):
    """Half of what it answers is right; goes away after a number of proofs."""

    def __init__(self, *, calls_left: int = 10**9) -> None:
        super().__init__(lambda _text, _index: 0.5, answer="42", wrong="7")
        self.calls_left = calls_left

    async def prove(self, proof: Proof) -> Proven:
        self.unavailable = self.calls_left <= 0
        self.calls_left -= 1
        return await super().prove(proof)


def problem(name: str, **fields: object) -> InputRow:
    trace = Trace(name, problem=f"Question {name}?", answer=("42",))
    return InputRow(name, trace, **fields)  # pyright: ignore[reportArgumentType] - the record's own


def given(name: str, completion: str, **fields: object) -> InputRow:
    trace = Trace(name, problem="Question?", completion=completion, answer=("42",))
    return InputRow(name, trace, **fields)  # pyright: ignore[reportArgumentType] - the record's own


async def run(
    path: Path,
    rows: Sequence[InputRow],
    prover: ScriptedProver,
    *,
    forcing: ForcingSpec | None = None,
    options: ScoreOptions | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> RunCounts:
    scorer = Scorer(prover, {"word": WordGrader()}, speller)
    try:
        with Folder(path) as folder:
            return await Run(scorer, folder, RunPlan("m", options or OPTIONS, SAMPLING, forcing), tell)(rows)
    finally:
        await scorer.close()
