"""The ways that are ours, on scripted and on real engines, with tiny work."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from mrt_reward.benchmark.forwards import forward_of_engine
from mrt_reward.benchmark.ours import figures_of, scored, specs, warm_up_work
from mrt_reward.benchmark.plain_forward import PlainForward
from mrt_reward.benchmark.plan import BenchPlan, Measurement, WorkFigures, measure
from mrt_reward.benchmark.recording import AnswerCounts, RecordingProver
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.rows import Way
from mrt_reward.benchmark.workload import Work, WorkSpec, make_work
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError
from mrt_reward.graders.math import NUM_WORKERS, MathGrader
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import GradeItem, Probe, Proof, RolloutQuery
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Usage

SPEC = WorkSpec(problems=1, traces=2, episodes=2, episode_tokens=10)


@pytest.fixture
def work(mini_tokenizer: HFTokenizer) -> Work:
    return make_work(SPEC, mini_tokenizer)


async def streamed(*traces: ScoredTrace) -> AsyncIterator[tuple[int, ScoredTrace]]:
    for index, trace in enumerate(traces):
        yield index, trace


async def test_traces_that_were_not_scored_end_the_benchmark(work: Work) -> None:
    fine = ScoredTrace("a", Status.OK, usage=Usage(computed_tokens=5))
    assert await scored(streamed(fine, fine), work) == 10
    with pytest.raises(ProverError, match="1 of 2 traces"):
        await scored(streamed(fine), work)
    with pytest.raises(ProverError, match="some values are missing"):
        await scored(streamed(ScoredTrace("b", Status.PARTIAL)), work)
    with pytest.raises(ProverError, match="too long"):
        await scored(streamed(ScoredTrace("b", Status.ERROR, error=ErrorInfo("too long", "T", "c"))), work)


def test_sampled_answers_are_needed_on_top(work: Work) -> None:
    assert figures_of("likelihood", work, 7, {}) == WorkFigures(7, 0, None)
    assert figures_of("rollouts", work, 7, {}) == WorkFigures(7, None, None)
    assert figures_of("rollouts", work, 7, {work.seed: AnswerCounts(4, 14, 8)}) == WorkFigures(7, 8, 3.5)


def test_beginnings_that_answers_share_are_run_once_and_last_tokens_never() -> None:
    # 5, 6 and 5, 6, 7 share both tokens of the first; of the last tokens 6, 7 and 9 none is run: 5, 6 are left, and 8.
    counted = AnswerCounts().plus([(5, 6), (5, 6, 7), (8, 9)])
    assert counted == AnswerCounts(3, 7, 3)
    assert counted.plus([(5,)]) == AnswerCounts(4, 8, 3)
    assert AnswerCounts().mean_tokens == 0


async def test_sampled_answers_are_counted() -> None:
    prover = RecordingProver(ScriptedProver([0.5]))
    assert prover.taken() == AnswerCounts()
    query = RolloutQuery(num_samples=3, temperature=1.0, top_p=1.0, max_tokens=4, stop_at_close=True)
    proven = await prover.prove(Proof(np.array([1, 2], np.int32), (Probe(2, (3,)),), query))
    assert prover.taken() == AnswerCounts().plus(proven.answers[0].completions)
    assert prover.taken() == AnswerCounts()
    await prover.check()
    await prover.close()


def test_rollouts_find_nothing_that_likelihoods_left() -> None:
    plan = BenchPlan(spec=SPEC, rounds=2)
    seeds = [spec.seed for name in plan.estimators for spec in specs(plan, name)]
    assert len(set(seeds)) == 4


async def test_a_warm_up_starts_all_workers_of_the_grader_and_no_round_pays_for_them(
    mini_tokenizer: HFTokenizer,
) -> None:
    traces = warm_up_work(BenchPlan(spec=SPEC), "rollouts", mini_tokenizer).traces
    assert {trace.outcome for trace in traces} == {None}, "so that they are graded"
    grader = MathGrader()
    try:
        await grader.grade([GradeItem(str(trace.completion), trace.answer) for trace in traces])
        assert len(grader.pool.pids) == NUM_WORKERS
    finally:
        await grader.close()


async def test_rounds_take_turns_and_add_up(mini_tokenizer: HFTokenizer) -> None:
    works = [make_work(dataclasses.replace(SPEC, seed=seed), mini_tokenizer) for seed in range(2)]
    order: list[str] = []

    async def one(work: Work) -> WorkFigures:
        order.append(f"one {work.seed}")
        return WorkFigures(7)

    async def other(work: Work) -> WorkFigures:
        order.append(f"other {work.seed}")
        return WorkFigures(decoded_tokens=None)

    said: list[str] = []
    way = Way("ours", "w", "in process", "scripted", "likelihood")
    second = dataclasses.replace(way, name="v")
    results = BenchResults(said.append)
    await measure([Measurement(way, works, one), Measurement(second, works[:1], other)], results)
    rows = results.rows
    assert order == ["one 0", "other 0", "one 1"]
    assert said == [f"scripted, in process: {name}" for name in "wvw"]
    assert (rows[0].prefixes, rows[0].computed_tokens) == (10, 14)
    assert rows[0].needed_tokens == sum(work.needed_tokens for work in works)
    assert (rows[1].computed_tokens, rows[1].needed_tokens) == (None, None)


def test_an_engine_elsewhere_has_no_full_forward() -> None:
    assert forward_of_engine(ScriptedProver([0.5])) is None


async def test_a_full_forward_calls_the_network_as_transformers_does() -> None:
    prover = TransformersProver(EngineSettings(model=str(MODEL_DIR)))
    try:
        plain = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32, attn_implementation="sdpa").eval()
        ids = torch.from_numpy(np.random.default_rng(0).integers(0, 4000, (1, 40)))
        with torch.inference_mode():
            ours = prover.network(input_ids=ids, use_cache=False, logits_to_keep=1).logits
            theirs = plain(input_ids=ids, use_cache=False, logits_to_keep=1).logits
        assert torch.allclose(ours, theirs, atol=1e-4)
        forward = forward_of_engine(prover)
        assert isinstance(forward, PlainForward)
        await forward.prefill([5, 9], seed=0)
        await forward.decode(3, 2, 20, seed=0)
    finally:
        await prover.close()
