"""One caller's flood, and one caller who leaves: counted in proofs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Hashable
from typing import Any

import httpx
import pytest

from mrt_reward.protocols import Proof, Proven, asking_caller
from mrt_reward.provers.scripted import ScriptedProver
from tests.faults.scripted import value_of
from tests.faults.started import trace, until
from tests.faults.table import Figure, Row
from tests.server.conftest import Live, live_server

NUM_SLOTS = 4
NUM_FLOOD, NUM_NEIGHBOUR = 200, 6
KEYS = {name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("flood", "neighbour")}


class Stepping(ScriptedProver):
    """Ends one proof each time it is let.

    Attributes:
        begun: whose proofs were begun, in order.
        num_ended: of them.
        num_left: that were stopped by whoever asked.

    """

    def __init__(self) -> None:
        super().__init__(value_of, num_slots=NUM_SLOTS)
        self.begun: list[Hashable] = []
        self.num_ended = self.num_left = 0
        self.let = asyncio.Semaphore(0)

    async def prove(self, proof: Proof) -> Proven:
        """Wait for the next step."""
        self.begun.append(asking_caller())
        try:
            await self.let.acquire()
        except asyncio.CancelledError:
            self.num_left += 1
            raise
        self.num_ended += 1
        return await super().prove(proof)

    async def step(self) -> None:
        """Let one proof end, and the next begin."""
        before = len(self.begun)
        self.let.release()
        await until(lambda: len(self.begun) > before)


def stepping_server(prover: Stepping) -> Any:
    """A server with keys of two callers; an asynchronous context."""
    return live_server(prover, keys=KEYS)


async def asks(live: Live, name: str, num_traces: int, **headers: str) -> httpx.Response:
    """One caller's request, on a connection of its own."""
    traces = [trace(f"{name}.{index}", 2) for index in range(num_traces)]
    own = {"Authorization": f"Bearer {name.partition('-')[0]}", **headers}
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
        return await http.post("/v1/score", json={"traces": traces}, headers=own)


async def stopped(*asking: asyncio.Task[httpx.Response]) -> None:
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize("num_requests", [1, 20])
async def test_a_neighbour_waits_for_what_runs_and_for_his_share(row: Row, num_requests: int) -> None:
    prover = Stepping()
    async with stepping_server(prover) as live:
        flood = [
            asyncio.create_task(asks(live, f"flood-{number}", NUM_FLOOD // num_requests))
            for number in range(num_requests)
        ]
        await until(lambda: live.scorer.queue.num_waiting == NUM_FLOOD - NUM_SLOTS)
        neighbour = asyncio.create_task(asks(live, "neighbour", NUM_NEIGHBOUR))
        await until(lambda: live.scorer.queue.num_waiting == NUM_FLOOD - NUM_SLOTS + NUM_NEIGHBOUR)
        ended_before = prover.num_ended
        while "neighbour" not in prover.begun:
            await prover.step()
        num_before_first = prover.num_ended - ended_before
        while prover.begun.count("neighbour") < NUM_NEIGHBOUR:
            await prover.step()
        num_beside = prover.begun.count("flood") - NUM_SLOTS
        await stopped(*flood, neighbour)
    done = f"{NUM_FLOOD} proofs of one key in {num_requests} requests; then {NUM_NEIGHBOUR} of another"
    title = "a flood delays its own caller"
    row.found(
        Figure(title, done, f"first after {num_before_first}", f"{NUM_SLOTS} running", num_before_first <= NUM_SLOTS)
    )
    share = f"{num_beside} of the flood begun until the last"
    row.found(Figure(title, done, share, f"{NUM_NEIGHBOUR}, his share", num_beside <= NUM_NEIGHBOUR))


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_who_hangs_up_has_no_further_proof_begun(row: Row, accept: str) -> None:
    prover = Stepping()
    async with stepping_server(prover) as live:
        leaving = asyncio.create_task(asks(live, "flood", NUM_FLOOD, Accept=accept))
        await until(lambda: live.scorer.queue.num_waiting == NUM_FLOOD - NUM_SLOTS)
        staying = asyncio.create_task(asks(live, "neighbour", NUM_NEIGHBOUR))
        await until(lambda: live.scorer.queue.num_waiting == NUM_FLOOD - NUM_SLOTS + NUM_NEIGHBOUR)
        await prover.step()
        before = prover.begun.count("flood")
        num_running = NUM_SLOTS - prover.begun.count("neighbour")
        await stopped(leaving)
        await until(lambda: prover.num_left == num_running)
        for _ in range(NUM_NEIGHBOUR + NUM_SLOTS):
            prover.let.release()
        reply = await staying
        num_after = prover.begun.count("flood") - before
        left = live.scorer.queue.queued_tokens
    assert (reply.status_code, len(reply.json()["traces"])) == (200, NUM_NEIGHBOUR)
    done = f"{NUM_FLOOD} proofs asked for as {accept.split('/')[1]}, the connection closed in their midst"
    row.found(Figure("who hangs up costs nothing", done, f"{num_after} proofs begun after it", "0", num_after == 0))
    row.found(Figure("who hangs up costs nothing", done, f"{left} tokens still queued", "0", left == 0))
