"""Coupled answers of the bundled model, against its own likelihood, which is its exact success rate here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mrt_reward.config import ServeSettings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions
from mrt_reward.protocols import Probe, Proof, RolloutQuery, Tokenizer
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Message, ScoredTrace, Trace
from mrt_reward.wiring import build_scorer
from tests.provers.proving import assert_same_law

Floats = NDArray[np.float64]


def traces(num_problems: int) -> list[Trace]:
    rng = np.random.default_rng(11)
    return [
        Trace(
            f"{number}-{copy}",
            problem=problem.text,
            completion=f"<think>\n{write_thinking(problem, BASE_SLOPPINESS, rng).text}</think>\n\n",
            answer=(str(problem.answer),),
            group=str(number),
        )
        for number, problem in enumerate(sample_problems(num_problems, seed=11))
        for copy in range(2)
    ]


async def values(scorer: Scorer, asked: Sequence[Trace], estimator: Likelihood | Rollouts) -> list[Floats]:
    """Of each trace, `value_P`."""

    def of(scored: ScoredTrace) -> Floats:
        assert scored.error is None
        return np.array([value.value for value in scored.values], np.float64)

    return [of(scored) for scored in await scorer.score(asked, ScoreOptions(estimator=estimator))]


def rollouts(*, coupled: bool, num_samples: int = 4) -> Rollouts:
    return Rollouts("rollouts", num_samples=num_samples, temperature=1.0, top_p=1.0, coupled=coupled)


@pytest.mark.asyncio
async def test_coupling_halves_the_error_of_progress_and_pays_idle_episodes_nothing() -> None:
    scorer = build_scorer(ServeSettings(grader_workers=1))
    try:
        asked = traces(25)
        truth, plain, coupled = [
            np.concatenate([np.diff(value_P) for value_P in await values(scorer, asked, estimator)])
            for estimator in (Likelihood(), rollouts(coupled=False), rollouts(coupled=True))
        ]
    finally:
        await scorer.close()
    errors = [float(((progress - truth) ** 2).mean()) for progress in (plain, coupled)]
    assert errors[1] <= errors[0] / 2
    idle = np.abs(truth) < 0.02
    assert idle.sum() > 20
    paid = [float(np.abs(progress[idle]).mean()) for progress in (plain, coupled)]
    assert paid[1] <= paid[0] / 5


@pytest.mark.asyncio
async def test_a_coupled_value_is_the_same_alone_and_in_any_batch_and_group() -> None:
    asked = traces(3)
    both: list[list[Floats]] = []
    for batches in ([asked], [[trace] for trace in reversed(asked)]):
        scorer = build_scorer(ServeSettings(grader_workers=1))
        try:
            found = [value for batch in batches for value in await values(scorer, batch, rollouts(coupled=True))]
        finally:
            await scorer.close()
        both.append(found)
    together, alone = both[0], both[1][::-1]
    assert all(one.tolist() == other.tolist() for one, other in zip(together, alone, strict=True))


@pytest.mark.asyncio
@pytest.mark.parametrize("top_p", [1.0, 0.9])
async def test_coupling_leaves_the_distribution_of_the_engines_answers_alone(top_p: float) -> None:
    query = RolloutQuery(10_000, temperature=3.0, top_p=top_p, max_tokens=1, stop_at_close=False)
    prover = TransformersProver(EngineSettings(model=str(MODEL_DIR), threads=1))
    try:
        proof = uncertain(prover.tokenizer)
        both = [
            (await prover.prove(Proof(proof.token_ids, proof.probes, replace(query, coupled=coupled)))).answers[0]
            for coupled in (False, True)
        ]
    finally:
        await prover.close()
    assert_same_law(both[0].completions, both[1].completions)


def uncertain(tokenizer: Tokenizer) -> Proof:
    """A bare problem, whose answer is open after the brace, at a high temperature."""
    [problem] = sample_problems(1, seed=11)
    ids = tokenizer.encode_chat([Message("user", problem.text)])
    suffix = tokenizer.encode_trusted("</think>\n\nThe final answer is \\boxed{").tolist()
    query = RolloutQuery(1, temperature=1.0, top_p=1.0, max_tokens=1, stop_at_close=False)
    return Proof(ids, (Probe(len(ids), tuple(suffix), seed=3),), query)
