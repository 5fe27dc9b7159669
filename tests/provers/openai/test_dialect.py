from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from mrt_reward.errors import ProverUnavailable
from mrt_reward.provers.openai.prover import UNKNOWN_VERSION
from mrt_reward.provers.openai.speaking import NOTES, LikelihoodWay
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import (
    SAMPLED,
    echo_of_another_length,
    echo_with_a_gap,
    make_proof,
    prover_of,
    without_tokens,
)
from tests.provers.proving import failure_of


@pytest.mark.parametrize("change", [echo_of_another_length, echo_with_a_gap, without_tokens])
async def test_an_endpoint_whose_probabilities_are_not_the_models_is_not_believed(
    tokenizer: HFTokenizer, qwen_dir: Path, change: Any
) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    fake.changed = lambda reply: change(reply) if "logprobs" in reply["choices"][0] else reply
    assert (await failure_of(prover_of(fake, qwen_dir), make_proof([5]))).code == "unsupported_query"


def _ids_of_other_tokens(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        logprobs = choice.get("logprobs", {"top_logprobs": []})
        logprobs["top_logprobs"] = [dict.fromkeys(top, -1.5) for top in logprobs["top_logprobs"] if top]
    return reply


def _names_that_are_no_token(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        if "logprobs" in choice:
            choice["logprobs"]["tokens"] = ["\ud800"]
    return reply


async def test_token_probabilities_that_contradict_the_servers_own_are_not_believed(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    # The echo is still right, so it is what counts.
    vllm.changed = _ids_of_other_tokens
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    assert prover.info.note == NOTES[LikelihoodWay.ECHO]


@pytest.mark.parametrize("kind", ["refused_fields", "ignored_fields"])
async def test_fields_that_are_refused_or_ignored_are_no_likelihood(
    vllm: FakeEndpoint, qwen_dir: Path, kind: str
) -> None:
    setattr(vllm, kind, {"echo", "logprob_token_ids"})
    prover = prover_of(vllm, qwen_dir)
    assert (await failure_of(prover, make_proof([5]))).code == "unsupported_query"
    setattr(vllm, kind, set())
    # What was found out holds for the life of the prover.
    assert (await failure_of(prover, make_proof([5]))).code == "unsupported_query"


async def test_an_endpoint_that_leaves_while_it_is_asked_what_it_can_is_asked_again_later(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    prover = prover_of(vllm, qwen_dir)
    # Five questions: its fields, lists and samples, ids, the best token, that token's probability.
    for num_answered in range(5):
        vllm.asked.clear()
        vllm.changed = _leaving_after(vllm, num_answered)
        with pytest.raises(ProverUnavailable):
            await prover.check()
        assert prover.info.version == UNKNOWN_VERSION
        vllm.replies.clear()
    vllm.changed = lambda reply: reply
    await prover.prove(make_proof([5]))


def _leaving_after(fake: FakeEndpoint, num_answered: int) -> Any:
    if num_answered == 0:
        fake.replies += [Response(status_code=503)] * 3

    def change(reply: dict[str, Any]) -> Any:
        if len(fake.asked) == num_answered:
            fake.replies += [Response(status_code=503)] * 3
        return reply

    return change


async def test_a_best_token_that_cannot_be_known_means_no_likelihood(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    fake.changed = lambda reply: json.dumps(_names_that_are_no_token(reply))
    assert (await failure_of(prover_of(fake, qwen_dir), make_proof([5]))).code == "unsupported_query"


async def test_a_strict_server_is_asked_without_the_fields_it_refuses(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    vllm.refused_fields = {"top_k"}
    await prover_of(vllm, qwen_dir).prove(make_proof([5], SAMPLED))
    assert "top_k" not in vllm.asked[-1][1]
