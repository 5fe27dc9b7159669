from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.provers.openai.endpoint import Endpoint
from mrt_reward.provers.openai.prover import OpenAIProver
from tests.provers.openai.fake_endpoint import KEY, FakeEndpoint
from tests.provers.openai.kit import (
    LIKELIHOOD,
    NO_WAIT,
    SAMPLED,
    make_proof,
    prover_of,
    without_tokens,
)
from tests.provers.proving import failure_of, prove_all


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_fails_for_a_while_is_asked_again(vllm: FakeEndpoint, qwen_dir: Path, status: int) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response(status_code=status, headers={"Retry-After": "0"})] * 2
    await prover.prove(make_proof([5], SAMPLED))
    vllm.replies += [Response(status_code=status)] * 3
    with pytest.raises(ProverUnavailable, match=f"HTTP {status}.*3 tries"):
        await prover.prove(make_proof([5], SAMPLED))
    await prover.prove(make_proof([6], SAMPLED, seed=1))


def test_a_longer_wait_that_the_server_asks_for_wins() -> None:
    backoff = Backoff(base_s=0.5, max_wait_s=20.0)
    assert all(0 <= backoff.wait_s(1, 0.0) <= 1.0 for _ in range(20))
    assert backoff.wait_s(1, 7.0) == 7.0
    assert backoff.wait_s(1, 99.0) == 20.0


def failing(error: type[httpx.HTTPError]) -> httpx.MockTransport:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error("nothing there")

    return httpx.MockTransport(handle)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectError, "no server at http://engine:9.*engine_url"),
        (httpx.ReadError, "the reply was lost"),
        (httpx.ReadTimeout, "no reply from http://engine:9 within 600 s"),
    ],
)
async def test_no_server_is_unavailable(qwen_dir: Path, error: type[httpx.HTTPError], message: str) -> None:
    prover = OpenAIProver(
        EngineSettings(engine_url="http://engine:9", tokenizer=str(qwen_dir)), transport=failing(error), backoff=NO_WAIT
    )
    with pytest.raises(ProverUnavailable, match=message):
        await prover.check()
    with pytest.raises(ProverUnavailable, match=message):
        await prover.prove(make_proof([5]))


def _drop_first(reply: dict[str, Any]) -> Any:
    return {**reply, "choices": reply["choices"][1:]}


def _with_logprobs(value: float | None) -> Any:
    def change(reply: dict[str, Any]) -> str:
        for choice in reply["choices"]:
            for top in choice["logprobs"]["top_logprobs"]:
                for name in top:
                    top[name] = value
        return json.dumps(reply)

    return change


def _aborted(reply: dict[str, Any]) -> Any:
    return {**reply, "choices": [{**choice, "finish_reason": "abort"} for choice in reply["choices"]]}


@pytest.mark.parametrize(
    ("query", "change", "message"),
    [
        (SAMPLED, lambda _: "{", "is no Completions"),
        (SAMPLED, lambda _: "[]", "is no Completions"),
        (SAMPLED, lambda _: "{}", "choices"),
        (SAMPLED, _drop_first, "sent 2"),
        (SAMPLED, _aborted, "gave a completion up"),
        (SAMPLED, without_tokens, "does not any more"),
        (LIKELIHOOD, _with_logprobs(math.nan), "is no Completions"),
        (LIKELIHOOD, _with_logprobs(-math.inf), "is no Completions"),
        (LIKELIHOOD, _with_logprobs(None), "is no Completions"),
        (LIKELIHOOD, _with_logprobs(0.5), "at most 0"),
        (LIKELIHOOD, without_tokens, "did not return it"),
    ],
)
async def test_a_broken_reply_is_an_error_and_never_a_number(
    vllm: FakeEndpoint, qwen_dir: Path, query: Any, change: Any, message: str
) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.changed = change
    error = await failure_of(prover, make_proof([5], query))
    assert message in str(error)
    assert type(error) is ProverError


async def test_a_server_error_is_not_asked_again(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response("boom", 500)]
    assert "HTTP 500: boom" in str(await failure_of(prover, make_proof([5], SAMPLED)))
    vllm.replies += [Response("boom", 500)]
    with pytest.raises(ProverUnavailable, match="cannot generate"):
        await prover.check()
    vllm.replies += [Response("boom", 500)] * 2
    with pytest.raises(ProverUnavailable, match="cannot be used"):
        await prover_of(vllm, qwen_dir).check()


@pytest.mark.parametrize("said", ["Request failed: error sending request", "Failed to get response body: error"])
async def test_a_router_that_lost_the_engine_it_chose_is_asked_again(
    vllm: FakeEndpoint, qwen_dir: Path, said: str
) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response(said, 500)] * 2
    [answer] = (await prover.prove(make_proof([5], SAMPLED))).answers
    assert len(answer.completions) == SAMPLED.num_samples
    vllm.replies += [Response(said, 500)] * 3
    with pytest.raises(ProverUnavailable, match="3 tries"):
        await prover.prove(make_proof([5], SAMPLED))
    await prover.close()


async def test_leaving_closes_the_requests(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.hang = True
    proving = asyncio.create_task(prove_all(prover, [make_proof([5, 20]), make_proof([6], SAMPLED, seed=1)]))
    while vllm.num_running < 3:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    proving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await proving
    assert (vllm.closed, vllm.num_running) == (3, 0)


async def test_the_key_is_sent_and_never_shown(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir, engine_api_key=KEY)
    await prover.check()
    assert vllm.asked[-1][0]["authorization"] == f"Bearer {KEY}"
    vllm.replies += [JSONResponse({"error": {"message": f"wrong key {KEY}"}}, 401)]
    error = await failure_of(prover, make_proof([5], SAMPLED))
    assert error.code == "engine_key_refused"
    assert KEY not in str(error)
    assert "MRT_REWARD_ENGINE_API_KEY" in str(error)
    vllm.replies += [JSONResponse({"error": {"message": f"wrong key {KEY}"}}, 403)] * 2
    with pytest.raises(ProverUnavailable, match="MRT_REWARD_ENGINE_API_KEY") as caught:
        await prover_of(vllm, qwen_dir, engine_api_key=KEY).check()
    assert KEY not in str(caught.value)
    vllm.replies.clear()
    vllm.changed = lambda _: json.dumps(KEY)
    assert KEY not in str(await failure_of(prover, make_proof([5], SAMPLED)))


@pytest.mark.parametrize("url", ["http://a:9?key=secret", "http://a:9/v1#secret", "http://me:secret@a:9?key=secret"])
async def test_a_url_that_holds_more_than_an_address_is_refused_without_showing_it(qwen_dir: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="http://a:9/… must end with its path") as refused:
        OpenAIProver(EngineSettings(engine_url=url, tokenizer=str(qwen_dir)))
    assert "secret" not in str(refused.value)


async def test_a_password_in_a_url_is_shown_nowhere(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    settings = EngineSettings(engine_url="http://me:secret@engine:9/path/v1", tokenizer=str(qwen_dir))
    prover = OpenAIProver(settings, transport=vllm.transport, backoff=NO_WAIT)
    with pytest.raises(ProverUnavailable) as missing:
        await prover.check()
    reported = (str(missing.value), str(prover.endpoints), str(prover.info))
    assert all("secret" not in text and "http://engine:9" in text for text in reported)
    await prover.close()


@pytest.mark.parametrize(("status", "replies"), [(200, True), (429, True), (503, True), (502, False), (500, False)])
async def test_an_answer_and_a_server_that_is_busy_are_replies_and_what_a_proxy_says_is_none(
    status: int, replies: bool
) -> None:
    reply = httpx.Response(status, json={"choices": [], "data": []})
    endpoint = Endpoint("http://a:9", backoff=NO_WAIT, transport=httpx.MockTransport(lambda _: reply))
    with suppress(ProverError):
        await endpoint.models()
    assert endpoint.replied_at == -math.inf, "who is there was no question"
    with suppress(ProverError):
        await endpoint.complete([[1, 2]], {}, "session")
    assert math.isfinite(endpoint.replied_at) is replies


async def test_questions_that_were_sent_again_are_counted_and_looks_are_not() -> None:
    busy = httpx.MockTransport(lambda _: httpx.Response(503))
    endpoint = Endpoint("http://a:9", backoff=NO_WAIT, transport=busy)
    with pytest.raises(ProverUnavailable, match="3 tries"):
        await endpoint.models()
    assert endpoint.num_retries == 0
    with pytest.raises(ProverUnavailable, match="3 tries"):
        await endpoint.complete([[1, 2]], {}, "session")
    assert endpoint.num_retries == 2
