"""Whether a server speaks SGLang's own protocol is found out, or named, and never believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from mrt_reward.errors import ProverUnavailable
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.fake_sglang import FakeSGLang
from tests.provers.openai.kit import expected, likelihoods, make_proof, prover_of
from tests.provers.openai.test_sglang import ruled


@pytest.fixture
def sglang(tokenizer: HFTokenizer) -> FakeSGLang:
    return ruled(tokenizer)


@pytest.mark.parametrize(
    ("settings", "path"),
    [({}, "/model_info"), ({}, "/get_model_info"), ({"engine_dialect": "sglang"}, "/nowhere")],
)
async def test_the_protocol_is_found_out_or_named(
    sglang: FakeSGLang, qwen_dir: Path, settings: dict[str, Any], path: str
) -> None:
    sglang.info_path = path
    prover = prover_of(sglang, qwen_dir, **settings)
    await prover.check()
    assert sglang.asked, "/generate was asked"
    await prover.close()


async def test_completions_are_asked_for_where_the_operator_says_so(sglang: FakeSGLang, qwen_dir: Path) -> None:
    with pytest.raises(ProverUnavailable, match="/v1/completions answered HTTP 404"):
        await prover_of(sglang, qwen_dir, engine_dialect="completions").check()
    assert sglang.asked == []


async def test_a_server_that_does_not_speak_it_although_it_is_said_to_is_refused(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    with pytest.raises(ProverUnavailable, match="does not answer as SGLang's /generate does"):
        await prover_of(vllm, qwen_dir, engine_dialect="sglang").check()


def _ids_alike(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        for row in reply["meta_info"].get("output_token_ids_logprobs", []):
            row[:] = [[-1.5, token, None] for _, token, _ in row]
    return replies


def _no_named_tokens(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        reply["meta_info"].pop("output_token_ids_logprobs", None)
    return replies


def _tails_off_by_one(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        rows = reply["meta_info"]["input_token_logprobs"]
        if len(rows) > 1:
            rows[-1][0] -= 1.0
    return replies


def _no_id(replies: list[dict[str, Any]]) -> Any:
    return [{**reply, "output_ids": []} for reply in replies]


@pytest.mark.parametrize("change", [_ids_alike, _no_named_tokens, _tails_off_by_one, _no_id, lambda _: [{}]])
async def test_a_server_that_contradicts_itself_is_not_believed(
    sglang: FakeSGLang, qwen_dir: Path, change: Any
) -> None:
    sglang.changed = change
    with pytest.raises(ProverUnavailable, match="does not answer as SGLang's /generate does"):
        await prover_of(sglang, qwen_dir, engine_dialect="sglang").check()
    # Where nobody named the protocol the other one is tried, which this fake does not speak.
    with pytest.raises(ProverUnavailable, match="/v1/completions"):
        await prover_of(sglang, qwen_dir).check()


async def test_a_release_that_tells_nothing_without_an_answer_token_is_asked_for_one(
    sglang: FakeSGLang, qwen_dir: Path
) -> None:
    sglang.silent_at_0 = True
    prover, proof = prover_of(sglang, qwen_dir), make_proof([5, 20])
    assert likelihoods(await prover.prove(proof)) == [pytest.approx(row) for row in expected(proof)]
    assert {params["max_new_tokens"] for params in sglang.asked[-1][1]["sampling_params"]} == {1}
    await prover.close()


async def test_a_server_that_leaves_meanwhile_is_asked_again_later(sglang: FakeSGLang, qwen_dir: Path) -> None:
    prover = prover_of(sglang, qwen_dir)
    sglang.replies += [Response(status_code=503)] * 3
    with pytest.raises(ProverUnavailable):
        await prover.check()
    await prover.check()
    assert prover.endpoints[0].up
    sglang.replies += [JSONResponse({"error": {"message": "wrong key"}}, 401)]
    with pytest.raises(ProverUnavailable, match="MRT_REWARD_ENGINE_API_KEY"):
        await prover_of(sglang, qwen_dir).check()
    await prover.close()
