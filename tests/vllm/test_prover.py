"""The vLLM prover against the transformers prover, and under pressure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds
from tests.provers.proving import prove_all
from tests.vllm.conftest import MAX_MODEL_LEN, NUM_BLOCKS, asked, island_traces, logprobs, proofs_of, until_idle

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")

NUM_TRACES = 30
"""With at most 9 prefixes each, more than 200 in all."""


async def test_likelihoods_equal_the_transformers_prover_on_200_prefixes(prover: VLLMProver) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - with the engine only

    proofs = proofs_of(island_traces(NUM_TRACES), prover.tokenizer)
    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    expected = logprobs(await prove_all(reference, proofs))
    await reference.close()
    proven = await prove_all(prover, proofs)
    found = logprobs(proven)
    assert len(found) >= 200
    difference = np.abs(found - expected)
    print(f"float32: {len(found)} prefixes, mean {difference.mean():.2g}, max {difference.max():.2g}")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Asked again, everything is read from the cache, and says the same.
    again = await prove_all(prover, proofs[:8])
    np.testing.assert_allclose(logprobs(again), expected[: len(logprobs(again))], atol=1e-4)
    assert sum(one.computed_tokens for one in again) < sum(one.computed_tokens for one in proven[:8])


async def test_what_its_cache_had_is_counted_as_the_engine_reports_it(prover: VLLMProver) -> None:
    [proof] = proofs_of(island_traces(40)[-1:], prover.tokenizer)
    await prover.check()  # the engine's own check of itself is asked of its cache, too
    shares: list[float] = []
    for _ in range(2):
        before = await prover.prefix_cache()
        proven = await prover.prove(proof)
        after = await prover.prefix_cache()
        assert before is not None
        assert after is not None
        num_asked, num_hit = after.num_asked - before.num_asked, after.num_hit - before.num_hit
        # Every terminated prefix is asked about; what was not cached is computed, and so are the forced answers.
        assert num_asked >= sum(probe.cut + len(probe.suffix) for probe in proof.probes)
        assert 0 < num_asked - num_hit <= proven.computed_tokens
        shares.append(num_hit / num_asked)
    assert 0 < shares[0] < shares[1] < 1


async def test_answers_greedy_or_drawn_equal_the_transformers_provers(prover: VLLMProver) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415

    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    proofs = proofs_of(island_traces(8), prover.tokenizer)
    hot = {"temperature": 1.2, "top_p": 0.9, "num_samples": 6}
    for query in ({}, {"stop_at_close": False, "max_tokens": 24}, hot):
        wanted = [asked(proof, **query) for proof in proofs]
        for found, expected in zip(await prove_all(prover, wanted), await prove_all(reference, wanted), strict=True):
            assert found.answers == expected.answers
    # Their mean log-probabilities agree to the engines' rounding.
    for query in ({"logprobs": True}, {"logprobs": True, "stop_at_close": False, "max_tokens": 24}):
        wanted = [asked(proof, **query) for proof in proofs[:2]]
        for found, expected in zip(await prove_all(prover, wanted), await prove_all(reference, wanted), strict=True):
            for ours, theirs in zip(found.answers, expected.answers, strict=True):
                assert ours.completions == theirs.completions
                assert ours.completion_logprobs == pytest.approx(theirs.completion_logprobs, abs=1e-3)
    await reference.close()


def long_proofs(num_proofs: int, tokenizer: object) -> list[Proof]:
    """Traces of 150 + 12 · 150 tokens with 13 probes, likelihood of a short answer."""
    rng = np.random.default_rng(11)
    suffix = tuple(int(token) for token in tokenizer.encode_trusted("</think>\n\nThe final answer is \\boxed"))  # type: ignore[attr-defined]
    query = LikelihoodQuery((SpellingIds((93, 448), (95,)),))
    proofs: list[Proof] = []
    for _ in range(num_proofs):
        ids = rng.integers(300, 4000, size=150 * 13, dtype=np.int32)
        proofs.append(Proof(ids, tuple(Probe(150 * (k + 1), suffix) for k in range(13)), query))
    return proofs


async def test_a_cache_of_4_traces_serves_64_without_thrashing(prover: VLLMProver) -> None:
    proofs = long_proofs(64, prover.tokenizer)
    assert prover.engine.num_blocks == NUM_BLOCKS
    proven = await prove_all(prover, proofs)
    assert np.isfinite(logprobs(proven)).all()
    computed = sum(one.computed_tokens for one in proven)
    needed = sum(proof.num_tokens for proof in proofs)
    print(f"computed {computed} tokens, needed {needed}: {computed / needed:.3f}")
    assert computed <= 1.25 * needed
    assert prover._serving.budget.free == prover._serving.budget.capacity


async def test_a_caller_who_leaves_stops_the_engines_work(prover: VLLMProver) -> None:
    proofs = [
        asked(proof, stop_at_close=False, max_tokens=512, temperature=1.0) for proof in long_proofs(6, prover.tokenizer)
    ]
    for proof in proofs:
        assert proof.query.num_samples == 4  # type: ignore[union-attr]
    call = asyncio.create_task(prove_all(prover, proofs))
    while prover.engine.num_running < 20:  # noqa: ASYNC110 - the engine's own state
        await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until_idle(prover)
    assert prover._serving.budget.free == prover._serving.budget.capacity
    await prover.check()


@pytest.mark.parametrize(
    ("num_tokens", "token", "code"),
    [(MAX_MODEL_LEN - 5, 5, "context_length_exceeded"), (10, 4096, "invalid_token_ids"), (10, -1, "invalid_token_ids")],
)
async def test_what_does_not_fit_fails_alone(prover: VLLMProver, num_tokens: int, token: int, code: str) -> None:
    [good] = proofs_of(island_traces(1), prover.tokenizer)
    bad = Proof(np.full(num_tokens, token, np.int32), (Probe(num_tokens, (1, 2, 3, 4)),), good.query)
    first, second = await asyncio.gather(prover.prove(good), prover.prove(bad), return_exceptions=True)
    assert isinstance(first, Proven)
    assert isinstance(second, ProverError)
    assert (second.code, second.retryable) == (code, False)


async def test_the_longest_prefix_that_fits_is_answered(prover: VLLMProver) -> None:
    query = LikelihoodQuery((SpellingIds((93, 448), (95,)),))
    num_tokens = MAX_MODEL_LEN - 4 - 3  # the suffix, two tokens of the answer and its close
    await prover.prove(Proof(np.full(num_tokens, 5, np.int32), (Probe(num_tokens, (1, 2, 3, 4)),), query))
    rollout = RolloutQuery(num_samples=2, temperature=1.0, top_p=1.0, max_tokens=50, stop_at_close=False)
    proven = await prover.prove(Proof(np.full(num_tokens, 5, np.int32), (Probe(num_tokens, (1, 2, 3, 4)),), rollout))
    assert all(len(ids) <= 3 for ids in proven.answers[0].completions)


async def test_who_proves_is_reported(prover: VLLMProver) -> None:
    assert (prover.info.engine, prover.info.max_tokens) == ("vllm", MAX_MODEL_LEN)
    assert len(prover.info.version) == 16
    assert prover.num_slots == 256
