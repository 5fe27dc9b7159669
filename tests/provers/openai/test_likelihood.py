from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.protocols import LikelihoodQuery, SpellingIds
from mrt_reward.provers.openai.speaking import NOTES, LikelihoodWay
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint, rule
from tests.provers.openai.kit import (
    SAMPLED,
    SPELLINGS,
    echo_of_another_length,
    echo_with_a_gap,
    expected,
    likelihoods,
    make_proof,
    prefix_of,
    prover_of,
)
from tests.provers.proving import failure_of


async def test_likelihood_is_the_sum_over_the_spellings_tokens_and_all_their_closes(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    prover, proof = prover_of(vllm, qwen_dir), make_proof([5, 20, 33])
    await prover.check()
    vllm.asked.clear()
    proven = await prover.prove(proof)
    np.testing.assert_allclose(likelihoods(proven), expected(proof), atol=1e-9)
    # One request for the nodes where nothing ends (the suffix's end and 7), one for those where a spelling ends.
    assert [len(body["prompt"]) for _, body in vllm.asked] == [3 * 2, 3 * 3]
    longest = prefix_of(proof, proof.probes[-1])
    assert all(body["prompt"][0][: len(longest)] == longest for _, body in vllm.asked)
    assert proven.computed_tokens == sum(sum(map(len, body["prompt"])) + len(body["prompt"]) for _, body in vllm.asked)
    assert proven.version == prover.info.version
    await prover.close()


async def test_more_closes_than_one_request_may_name_are_asked_in_parts(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    close = tuple(range(20, 320))
    proof = make_proof([5], LikelihoodQuery((SpellingIds((7,), close),)))
    logprobs = rule([*prefix_of(proof, proof.probes[0]), 7])
    total = rule(prefix_of(proof, proof.probes[0]))[7] + math.log(np.exp(logprobs[list(close)]).sum())
    assert likelihoods(await prover.prove(proof)) == [[pytest.approx(total)]]


async def test_with_echo_the_plainest_close_counts(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    prover, proof = prover_of(fake, qwen_dir), make_proof([5, 20])
    await prover.check()
    assert prover.info.note == NOTES[LikelihoodWay.ECHO]
    fake.asked.clear()
    plainest = [min(spelling.close, key=lambda token: len(tokenizer.decode([token]))) for spelling in SPELLINGS]
    assert plainest == [spelling.close[0] for spelling in SPELLINGS]
    np.testing.assert_allclose(likelihoods(await prover.prove(proof)), expected(proof, num_closes=1), atol=1e-9)
    assert [len(body["prompt"]) for _, body in fake.asked] == [2 * 3]
    await prover.close()


@pytest.mark.parametrize("dialect", ["llama", "plain"])
async def test_a_server_that_tells_no_probabilities_refuses_likelihood_only(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    prover = prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir)
    error = await failure_of(prover, make_proof([5]))
    assert error.code == "unsupported_query"
    assert "rollouts" in str(error)
    assert "rollouts" in prover.info.note
    assert len((await prover.prove(make_proof([5], SAMPLED))).answers[0].completions) == 3


@pytest.mark.parametrize(("change", "message"), [(echo_of_another_length, "rated"), (echo_with_a_gap, "gave None")])
async def test_a_broken_echo_is_an_error(tokenizer: HFTokenizer, qwen_dir: Path, change: Any, message: str) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    fake.changed = change
    assert message in str(await failure_of(prover, make_proof([5])))
