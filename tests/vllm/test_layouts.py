"""Models whose layers do not all see the whole past, on real engines: their numbers, and what prefixes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError
from mrt_reward.protocols import Probe, Proof
from mrt_reward.protocols.canary import needed_tokens
from tests.provers.hf.families import save_family
from tests.provers.hf.plain import likelihoods, make_proof, rollouts
from tests.vllm.conftest import MAX_MODEL_LEN

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")

CUTS = [200, 500, 700, 900, 1100, 1400, 1700, 2000]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["gemma3_text", "gpt_oss"])
async def windowed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[VLLMProver]:
    """An engine of each layout: windows of three blocks, and every other layer without."""
    from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415 - an optional engine

    folder = save_family(
        tmp_path_factory.mktemp(request.param),
        request.param,
        sliding_window=96,
        head_dim=64,
        max_position_embeddings=4096,
    )
    settings = EngineSettings(model=str(folder), dtype="float32", max_model_len=MAX_MODEL_LEN)
    built = await asyncio.to_thread(VLLMProver, settings)
    yield built
    await built.close()


async def test_prefixes_share_what_windows_allow_and_values_are_the_embedded_engines(
    windowed: VLLMProver, capsys: pytest.CaptureFixture[str]
) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415

    await windowed.check()
    # The self-check found out that this layout keeps the blocks of a window only where a request ended.
    assert not windowed._serving.runner.ways.longest_first
    assert windowed.info.computed_per_needed is not None
    assert windowed.info.computed_per_needed < 1.5
    proof = make_proof(CUTS, num_suffix=13)
    proven = await windowed.prove(proof)
    # K cuts lose half a block each on average: 1.1 + K·B/(2L).
    bound = 1.1 + len(CUTS) * windowed.engine.block_size / (2 * CUTS[-1])
    assert proven.computed_tokens / needed_tokens(proof) <= bound
    longest_first = windowed._serving.runner.asking("longest first", longest_first=True)
    _, num_tokens = await longest_first.prove(proof)
    assert num_tokens / needed_tokens(proof) > 1.5
    sampled = make_proof(CUTS, rollouts(4, temperature=1.0, max_tokens=8), seed=1, num_suffix=13)
    drawn = await windowed.prove(sampled)
    num_drawn = sum(len(ids) for answer in drawn.answers for ids in answer.completions)
    with capsys.disabled():
        print(
            f"\n{windowed.engine.folder.name}: tokens computed per token needed: likelihood "
            f"{proven.computed_tokens / needed_tokens(proof):.2f}, in the other order "
            f"{num_tokens / needed_tokens(proof):.2f}; rollouts, 4 answers of 8 tokens, "
            f"{drawn.computed_tokens / (_num_read(sampled) + num_drawn):.2f}"
        )
    embedded = TransformersProver(EngineSettings(model=str(windowed.engine.folder), device="cpu"))
    np.testing.assert_allclose(likelihoods(proven), likelihoods(await embedded.prove(proof)), atol=1e-4)
    greedy = make_proof([200, 700], rollouts(2))
    assert (await windowed.prove(greedy)).answers == (await embedded.prove(greedy)).answers
    await embedded.close()


def _num_read(proof: Proof) -> int:
    """Tokens of a trace and of all its suffixes."""
    return max(probe.cut for probe in proof.probes) + sum(len(probe.suffix) for probe in proof.probes)


async def test_full_attention_shares_nearly_all_whatever_the_order(
    prover: VLLMProver, capsys: pytest.CaptureFixture[str]
) -> None:
    await prover.check()
    assert prover._serving.runner.ways.longest_first
    vocab = prover.engine.vocab_size
    proof = make_proof(CUTS, num_suffix=13)
    ids = (proof.token_ids % vocab).astype(np.int32)
    probes = tuple(Probe(probe.cut, tuple(token % vocab for token in probe.suffix)) for probe in proof.probes)
    proof = Proof(ids, probes, proof.query)
    computed_per_needed = (await prover.prove(proof)).computed_tokens / needed_tokens(proof)
    with capsys.disabled():
        print(f"\nfull attention: likelihood {computed_per_needed:.2f}")
    assert computed_per_needed <= 1.15


async def test_an_engine_that_says_something_else_from_its_cache_is_refused(prover: VLLMProver) -> None:
    from mrt_reward.provers.vllm.probes import ProbeRunner  # noqa: PLC0415
    from mrt_reward.provers.vllm.selfcheck import keep_cheaper_order  # noqa: PLC0415

    class Stale(ProbeRunner):
        """Is off by a third of its values once it reads the cache."""

        async def prove(self, proof: Any) -> Any:
            answers, num_tokens = await super().prove(proof)
            if self.ways.cached:
                answers = tuple(
                    replace(answer, spelling_logprobs=tuple(value * 4 / 3 for value in answer.spelling_logprobs))
                    for answer in answers
                )
            return answers, num_tokens

    serving = prover._serving
    with pytest.raises(ProverError, match="from an empty prefix cache are") as raised:
        await keep_cheaper_order(
            Stale(serving.engine, serving.stops, "stale"), serving.engine, prover.tokenizer, "stale"
        )
    assert raised.value.code == "self_check_failed"
