from __future__ import annotations

import json

import httpx
import pytest

from mrt_reward.benchmark.peers import client_of, over_http
from mrt_reward.benchmark.plan import Plan, measure
from mrt_reward.benchmark.workload import WorkSpec
from mrt_reward.errors import ProverError
from mrt_reward.provers.tokenizer import HFTokenizer

PLAN = Plan(WorkSpec(problems=2, traces=2, episodes=2, episode_tokens=10), slow_problems=1)


async def test_peers_ask_about_the_same_prefixes_one_request_each(mini_tokenizer: HFTokenizer) -> None:
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(body)
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
        cached = {} if "prompt_logprobs" in body else {"prompt_tokens_details": {"cached_tokens": 4}}
        return httpx.Response(200, json={"choices": [], "usage": {**usage, **cached}})

    async with client_of("http://peer", httpx.MockTransport(answer)) as http:
        measurements = await over_http(http, mini_tokenizer, PLAN, "as it comes")
        asked.clear()
        rows = await measure(measurements, lambda _: None)
    # 2 problems of 2 × 2 + 1 prefixes; the slow one does the first problem.
    assert [row.prefixes for row in rows] == [10, 10, 5]
    assert rows[0].name == "(a) a request a prefix, in turn; as it comes"
    assert len(asked) == 25
    # `{`, a number and `}`, greedily; prompt log-probabilities need one more token, which is thrown away.
    assert [body["max_tokens"] for body in asked] == [3] * 20 + [1] * 5
    assert {body["temperature"] for body in asked} == {0.0}
    prompts = sum(len(body["prompt"]) for body in asked[20:])  # type: ignore[arg-type]
    assert rows[2].computed_tokens == prompts
    prompts = sum(len(body["prompt"]) for body in asked[:10])  # type: ignore[arg-type]
    assert rows[0].computed_tokens == prompts - 10 * 4 + 10 * 2


async def test_a_refusal_ends_the_benchmark(mini_tokenizer: HFTokenizer) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(400, text="no such model"))
    async with client_of("http://peer", transport) as http:
        with pytest.raises(ProverError, match="400: no such model"):
            await over_http(http, mini_tokenizer, PLAN, "as it comes")
