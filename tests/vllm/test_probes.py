"""How one trace's probes are asked of the engine: forced answers, single steps, and draws."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, RolloutQuery, SpellingIds
from tests.provers.hf.test_coupling import uncertain
from tests.provers.proving import assert_same_law, prove_all
from tests.vllm.conftest import asked, island_traces, logprobs, proofs_of

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_several_spellings_share_their_beginnings(prover: VLLMProver) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415

    [proof] = proofs_of(island_traces(1), prover.tokenizer)
    close = prover.tokenizer.close_ids
    texts = ("{4", "{42", "{42.0", "{\\frac{84}{2}", "{42")
    spellings = tuple(
        SpellingIds(tuple(int(token) for token in prover.tokenizer.encode_untrusted(text).ids), close) for text in texts
    )
    # Far more closes than one request may watch, as in vocabularies of 150,000 tokens.
    many = SpellingIds(spellings[0].ids, tuple(range(1, 301)))
    proof = Proof(proof.token_ids, proof.probes, LikelihoodQuery((*spellings, many)))
    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    expected = logprobs(await prove_all(reference, [proof]))
    await reference.close()
    np.testing.assert_allclose(logprobs(await prove_all(prover, [proof])), expected, atol=1e-4)


async def test_single_steps_say_the_same_as_forced_answers(prover: VLLMProver) -> None:
    proofs = proofs_of(island_traces(2), prover.tokenizer)
    expected = logprobs(await prove_all(prover, proofs))
    runner = prover._serving.runner
    runner.ways.forced = False
    try:
        np.testing.assert_allclose(logprobs(await prove_all(prover, proofs)), expected, atol=1e-4)
    finally:
        runner.ways.forced = True


async def test_drawn_answers_full_of_braces_end_where_the_transformers_provers_do(prover: VLLMProver) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415

    text = "The final answer is \\boxed{\\frac{1}{2}}. " * 6 + "The final answer is \\boxed"
    ids = prover.tokenizer.encode_trusted(text)
    query = RolloutQuery(num_samples=16, temperature=1.0, top_p=1.0, max_tokens=40, stop_at_close=True)
    proof = Proof(ids[:-4], (Probe(len(ids) - 4, tuple(ids[-4:].tolist()), seed=7),), query)
    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    [found], [expected] = await prove_all(prover, [proof]), await prove_all(reference, [proof])
    await reference.close()
    pairs = list(zip(found.answers[0].completions, expected.answers[0].completions, strict=True))
    # A draw that falls on the edge of two tokens may go either way with the engines' rounding, and the rest follows.
    same = [ours for ours, theirs in pairs if ours == theirs]
    assert len(same) >= len(pairs) - 1, pairs
    assert len({len(ids) for ids in same}) > 3


async def test_sampled_answers_repeat_with_their_seed_and_differ_without(prover: VLLMProver) -> None:
    [proof] = proofs_of(island_traces(1, seed=5), prover.tokenizer)
    hot = asked(proof, num_samples=16, temperature=1.3)
    [first], [second] = await prove_all(prover, [hot]), await prove_all(prover, [hot])
    assert [len(answer.completions) for answer in first.answers] == [16] * len(hot.probes)
    assert first.answers == second.answers
    moved = Proof(hot.token_ids, tuple(Probe(p.cut, p.suffix, p.seed + 1000) for p in hot.probes), hot.query)
    [third] = await prove_all(prover, [moved])
    assert third.answers != first.answers


async def test_coupling_leaves_the_distribution_of_the_engines_answers_alone(prover: VLLMProver) -> None:
    proof, query = uncertain(prover.tokenizer), RolloutQuery(10_000, 3.0, 0.9, 1, stop_at_close=False)
    both = [
        (await prover.prove(Proof(proof.token_ids, proof.probes, replace(query, coupled=coupled)))).answers[0]
        for coupled in (False, True)
    ]
    assert_same_law(both[0].completions, both[1].completions)


async def test_coupled_answers_are_those_of_the_transformers_prover(prover: VLLMProver) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415

    [proof] = proofs_of(island_traces(1), prover.tokenizer)
    probes = tuple(replace(probe, seed=5) for probe in proof.probes)
    query = RolloutQuery(8, temperature=1.0, top_p=0.95, max_tokens=16, stop_at_close=True, coupled=True)
    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    [expected] = await prove_all(reference, [Proof(proof.token_ids, probes, query)])
    await reference.close()
    [found] = await prove_all(prover, [Proof(proof.token_ids, probes, query)])
    pairs = [
        (one, other)
        for answer, wanted in zip(found.answers, expected.answers, strict=True)
        for one, other in zip(answer.completions, wanted.completions, strict=True)
    ]
    # Two engines' logits differ in the seventh digit, which settles a tie in ten thousand the other way.
    assert sum(one == other for one, other in pairs) >= len(pairs) - 1
