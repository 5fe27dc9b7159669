"""A queue that is too small for its callers: all are served within their time, in turn."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from mrt_reward.client import AsyncClient, RetryPolicy
from mrt_reward.errors import WireError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.types import Status
from tests.server.conftest import TRACE, VALUES, live_server


async def test_forty_clients_on_a_small_queue_all_get_through() -> None:
    # The queue takes a few of the forty requests at a time.
    async with live_server(ScriptedProver(VALUES, delay_s=0.05)) as live:
        live.scorer.queue.max_queue_tokens = 4000

        async def one(number: int) -> list[Status]:
            traces = [{**TRACE, "id": f"{index}", "problem": f"{number}, {index}"} for index in range(4)]
            async with AsyncClient(live.url, timeout_s=60) as client:
                return [trace.status for trace in await client.score(traces)]

        found = await asyncio.gather(*(one(number) for number in range(40)))
        metrics = (await live.http.get("/metrics")).text
    assert found == [[Status.OK] * 4] * 40
    assert 'code="429"' in metrics, "the queue was never full, so that this shows nothing"


async def test_the_time_of_the_call_is_the_limit_while_the_server_is_busy() -> None:
    num_asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked <= 30:
            return httpx.Response(429, json={"error": {"message": "m", "type": "T", "code": "overloaded"}})
        return httpx.Response(200, json={})

    retry = RetryPolicy(base_s=0.001, max_wait_s=0.002)
    async with AsyncClient(transport=httpx.MockTransport(answer), timeout_s=20, retry=retry) as client:
        with pytest.raises(WireError, match="no ProverOut"):
            await client.prover()
    assert num_asked == 30 + 5, "what a busy server refused is not one of the five tries"
