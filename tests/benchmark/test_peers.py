from __future__ import annotations

import json
from dataclasses import replace

import httpx

from mrt_reward.benchmark.peers import PlainClient, client_of, over_http
from mrt_reward.benchmark.plan import BenchPlan, measure
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.workload import WorkSpec
from mrt_reward.provers.tokenizer import HFTokenizer

PLAN = BenchPlan(WorkSpec(problems=2, traces=2, episodes=2, episode_tokens=10), slow_problems=1)


async def test_peers_ask_about_the_same_prefixes_one_request_each(mini_tokenizer: HFTokenizer) -> None:
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(body)
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
        cached = {} if "prompt_logprobs" in body else {"prompt_tokens_details": {"cached_tokens": 4}}
        return httpx.Response(200, json={"choices": [], "usage": {**usage, **cached}})

    results = BenchResults()
    async with client_of("http://peer", httpx.MockTransport(answer)) as http:
        measurements = over_http(PlainClient(http), mini_tokenizer, PLAN, "as it comes")
        for one in measurements:
            assert one.warm_up is not None
            await one.run(one.warm_up)
        asked.clear()
        await measure([replace(one, warm_up=None) for one in measurements], results)
    rows = results.rows
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


async def test_a_peer_that_is_refused_or_left_alone_takes_no_row_of_the_others_away(
    mini_tokenizer: HFTokenizer,
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if "prompt_logprobs" in body:
            return httpx.Response(400, text="no such field")
        if len(asked) == 36:
            raise httpx.ReadError("")
        asked.append(request)
        return httpx.Response(200, json={"choices": [], "usage": {"prompt_tokens": len(body["prompt"])}})

    asked: list[httpx.Request] = []
    saved: list[int] = []
    results = BenchResults(changed=lambda results: saved.append(len(results.records())))
    async with client_of("http://peer", httpx.MockTransport(answer)) as http:
        peer = PlainClient(http, lambda: "Killed")
        await measure(over_http(peer, mini_tokenizer, replace(PLAN, rounds=2), "as it comes"), results)
    # 3 requests to warm each of (a) and (c) up, then 10 a round: the second round of (c) loses its server.
    assert [row.prefixes for row in results.rows] == [20, 10]
    refused, broken = results.failures
    assert refused.way.name.startswith("(d)")
    assert "400: no such field" in refused.why
    assert broken.way.name.startswith("(c)")
    assert broken.why == "the peer's server broke off (ReadError); its last words: Killed"
    # (d) fails to warm up; a round each of (a) and (c); the second of (a); and (c) fails.
    assert saved == [1, 2, 3, 3, 4]
