"""A real model on both engines, each asked once a session; skipped where it or vLLM is not installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.options import ParagraphSegmenter, Rollouts, ScoreOptions
from mrt_reward.protocols import Tokenizer
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wiring import build_prover
from tests.real.smollm2 import converted, missing_packages
from tests.real.sums import SUMS
from tests.vllm.conftest import UPSTREAM_WARNINGS

HERE = Path(__file__).parent
MISSING = [name for name in ("vllm",) if importlib.util.find_spec(name) is None] + missing_packages()
SHARED = Path(os.environ.get("MRT_REWARD_TEST_DATA", "")) / "traces_qwen3_32b.jsonl"

NUM_SHORTEST = 20
MAX_MODEL_LEN = 4096

PARAGRAPHS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs", group=1, max_episodes=8))
GREEDY = ScoreOptions(
    segmenter=PARAGRAPHS.segmenter,
    estimator=Rollouts("rollouts", num_samples=2, temperature=0.0, max_tokens=12, keep_answers=True),
)

Engine = Literal["transformers", "vllm"]
Precision = Literal["float32", "bfloat16"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what these tests need, and what vLLM and the conversion warn about."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.stem != "test_sums":
            item.add_marker(pytest.mark.vllm)
            for warning in UPSTREAM_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))
            if MISSING:
                reason = f"{', '.join(MISSING)} not installed: make test-real runs these"
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True)
class EngineRun:
    """What one engine says of all traces.

    Attributes:
        scored: by likelihood, by the id of the trace.
        greedy: answers at temperature 0 to the first sums.
        tokenizer: the prover's.
        start_s: seconds until it could prove.
        score_s: seconds that all traces took.

    """

    scored: dict[str, ScoredTrace]
    greedy: tuple[ScoredTrace, ...]
    tokenizer: Tokenizer
    start_s: float
    score_s: float


Measure = Callable[[Engine, Precision], Awaitable[EngineRun]]


@pytest.fixture(scope="session")
def folder() -> Path:
    return converted()


@pytest.fixture(scope="session")
def shortest() -> tuple[Trace, ...]:
    """Real thinking of a larger model: the shortest of the shared traces; none where they are not there."""
    if not SHARED.is_file():
        return ()
    rows = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: len(row["completion"]))
    return tuple(
        Trace(row["id"], problem=row["problem"], completion=row["completion"], answer=(row["answer"],), outcome=1.0)
        for row in rows[:NUM_SHORTEST]
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def measure(folder: Path, shortest: tuple[Trace, ...]) -> Measure:
    """Asks an engine about all traces, once: one engine at a time is in memory."""
    known: dict[tuple[Engine, Precision], EngineRun] = {}

    async def run_on(engine: Engine, dtype: Precision) -> EngineRun:
        if (engine, dtype) not in known:
            # Half precision is slow on a CPU, so it is asked about less.
            few = dtype != "float32"
            known[engine, dtype] = await _measured(
                EngineSettings(
                    model=str(folder), engine=engine, dtype=dtype, device="cpu", max_model_len=MAX_MODEL_LEN
                ),
                shortest[: 5 if few else None],
                [trace for each in SUMS[: 10 if few else None] for trace in (each.found, each.lost)],
            )
        return known[engine, dtype]

    return run_on


async def _measured(settings: EngineSettings, shortest: Sequence[Trace], sums: Sequence[Trace]) -> EngineRun:
    began = time.monotonic()
    prover = await asyncio.to_thread(build_prover, settings)
    scorer = Scorer(prover, {"exact": ExactGrader()}, spellings)
    try:
        await scorer.check()
        ready = time.monotonic()
        scored = [*await scorer.score(shortest), *await scorer.score(sums, PARAGRAPHS)]
        score_s = time.monotonic() - ready
        greedy = await scorer.score(sums[:4], GREEDY)
    finally:
        await scorer.close()
    return EngineRun({each.id: each for each in scored}, greedy, scorer.tokenizer, ready - began, score_s)
