"""A stream over HTTP: each line is on the wire as soon as its trace is scored."""

from __future__ import annotations

import asyncio
import json

from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from tests.server.conftest import TRACE, VALUES, live_server


class Stepping(ScriptedProver):
    """Ends one proof each time it is let."""

    def __init__(self) -> None:
        super().__init__(VALUES)
        self.let = asyncio.Semaphore(0)

    async def prove(self, proof: Proof) -> Proven:
        proven = await super().prove(proof)
        await self.let.acquire()
        return proven


async def test_of_20_proofs_on_one_slot_each_is_read_before_the_next_but_one_is_begun() -> None:
    prover = Stepping()
    body = {"traces": [{**TRACE, "id": str(index), "problem": f"Question {index}?"} for index in range(20)]}
    headers = {"Accept": "application/x-ndjson"}
    prover.let.release()
    async with (
        live_server(prover) as live,
        live.http.stream("POST", "/v1/score", json=body, headers=headers) as reply,
    ):
        index = 0
        async for line in reply.aiter_lines():
            assert json.loads(line)["trace"]["id"] == str(index)
            # The one that was read, and the one that runs.
            assert prover.num_calls <= index + 2
            index += 1
            prover.let.release()
        assert index == 20


async def test_hanging_up_in_the_middle_of_a_stream_stops_the_work() -> None:
    prover = Stepping()
    body = {"traces": [{**TRACE, "id": str(index), "problem": f"Question {index}?"} for index in range(20)]}
    prover.let.release()
    async with live_server(prover) as live:
        async with live.http.stream(
            "POST", "/v1/score", json=body, headers={"Accept": "application/x-ndjson"}
        ) as reply:
            await anext(reply.aiter_lines())
        for _ in range(1000):
            if not live.scorer.queue.queued_tokens:
                break
            await asyncio.sleep(0.01)
        assert live.scorer.queue.queued_tokens == 0
        assert prover.num_calls == 2
