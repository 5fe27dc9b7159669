"""An engine that accepts every question and answers none makes its server unready within half a minute."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from mrt_reward.client import AsyncClient, RetryPolicy
from tests.faults.engines import served_elsewhere
from tests.faults.started import clear_cache, trace, until, values_of
from tests.faults.table import Figure, Row

MAX_S = 30.0
NUM_TRACES = 60
TITLE = "an engine that answers nothing is found"


async def until_status(http: httpx.AsyncClient, path: str, status: int) -> float:
    """Seconds until a probe says so; asked every second, as an orchestrator asks."""
    began = time.monotonic()
    while (await http.get(path)).status_code != status:  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(1)
    return time.monotonic() - began


@pytest.mark.a_minute
async def test_an_engine_that_answers_nothing_is_found_and_missed_by_nobody_afterwards(
    row: Row, tmp_path: Path
) -> None:
    traces = [trace(f"h{number}", 3) for number in range(NUM_TRACES)]
    async with (
        served_elsewhere(tmp_path) as (engine, server),
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        # SIGSTOP: the system goes on accepting connections for it.
        engine.send(signal.SIGSTOP)
        idle_s = await until_status(http, "/readyz", 503)
        engine.send(signal.SIGCONT)
        await until_status(http, "/readyz", 200)
        before = len(engine.asked)
        async with AsyncClient(server.url, retry=RetryPolicy(), timeout_s=300) as client:
            asking = asyncio.create_task(client.score(traces))
            await until(lambda: len(engine.asked) >= before + NUM_TRACES)
            engine.send(signal.SIGSTOP)
            at_work_s = await until_status(http, "/readyz", 503)
            engine.send(signal.SIGCONT)
            scored = await asking
        await until_status(http, "/readyz", 200)
        await clear_cache(server)
        reply = await http.post("/v1/score", json={"traces": traces})
    undisturbed = [values_of(each) for each in reply.json()["traces"]]
    num_same = sum(values_of(each) == right for each, right in zip(scored, undisturbed, strict=True))
    for what, found_s in (("idle", idle_s), ("at work", at_work_s)):
        done = f"SIGSTOP to the engine, {what}; /readyz asked every second"
        row.found(Figure(TITLE, done, f"503 after {found_s:.0f} s", f"{MAX_S:.0f} s", found_s <= MAX_S))
    done = f"SIGCONT, with {NUM_TRACES} traces waiting"
    row.found(Figure(TITLE, done, f"{num_same} scores as without", f"{NUM_TRACES}", num_same == NUM_TRACES))
