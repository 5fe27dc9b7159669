"""SIGTERM under load: what was accepted is answered."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.faults.scripted import Script, logged
from tests.faults.started import Started, expected, started, trace, values_of
from tests.faults.table import Figure, Row

NUM_REQUESTS, TRACES_A_REQUEST = 40, 3
NUM_PROOFS = NUM_REQUESTS * TRACES_A_REQUEST


async def test_sigterm_under_load_loses_nothing_that_was_accepted(row: Row, tmp_path: Path) -> None:
    requests = [[trace(f"r{number}.{index}", 2) for index in range(TRACES_A_REQUEST)] for number in range(NUM_REQUESTS)]
    right = await expected(Script(), [each for traces in requests for each in traces])
    ledger = tmp_path / "ledger"
    async with started(Script(delay_s=1.0, num_slots=16, ledger=str(ledger)), tmp_path / "log") as server:
        asking = [asyncio.create_task(server.post(traces)) for traces in requests]
        while len(logged(ledger, "ended")) + await _num_asked(server) < NUM_PROOFS:  # noqa: ASYNC110 - its state
            await asyncio.sleep(0.01)
        assert len(logged(ledger, "ended")) < NUM_PROOFS / 2, "too little was left to do, so that this shows nothing"
        server.process.send_signal(signal.SIGTERM)
        late = await _refused(server.http, [trace("late")])
        replies = await asyncio.gather(*asking, return_exceptions=True)
        status = await asyncio.wait_for(server.process.wait(), 60)
    answered = [reply for reply in replies if isinstance(reply, httpx.Response) and reply.status_code == 200]
    scored = [each for reply in answered for each in reply.json()["traces"]]
    num_right = sum(values_of(each) == right[each["id"]] for each in scored)
    done = f"SIGTERM with {NUM_REQUESTS} requests of {TRACES_A_REQUEST} traces accepted"
    figure = f"{NUM_REQUESTS - len(answered)} requests lost, {num_right} traces right"
    row.found(Figure("a stop loses nothing", done, figure, f"0, {NUM_PROOFS}", num_right == NUM_PROOFS))
    row.found(Figure("a stop loses nothing", done, f"exit status {status}", "0", status == 0))
    reply = f"{late.status_code}, Retry-After {late.headers.get('retry-after')}"
    holds = late.status_code == 503 and int(late.headers["retry-after"]) >= 1
    row.found(Figure("a stop loses nothing", "a request after the SIGTERM", reply, "503 with Retry-After", holds))


async def _num_asked(server: Started) -> float:
    """Proofs that wait for a slot or have one."""
    return await server.metric("mrt_reward_queue_depth") + await server.metric("mrt_reward_engine_inflight")


async def _refused(http: httpx.AsyncClient, traces: list[dict[str, Any]]) -> httpx.Response:
    """The first reply that is a refusal: the signal may come a moment after the request."""
    while True:
        reply = await http.post("/v1/score", json={"traces": traces}, headers={"X-Deadline-Ms": "60000"})
        if reply.status_code != 200:
            return reply
