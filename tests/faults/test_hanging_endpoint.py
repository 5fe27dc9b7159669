"""One of two engines that answers no question is left out within half a minute; the other proves in its place."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from mrt_reward.client import AsyncClient
from tests.faults.engines import served_by_two
from tests.faults.started import clear_cache, trace, until, values_of
from tests.faults.table import Figure, Row
from tests.serving import Server

MAX_S = 30.0
NUM_TRACES = 60
TITLE = "one of two engines that answers nothing is left out"


async def until_up(http: httpx.AsyncClient, *, up: bool) -> float:
    """Seconds until the first of two endpoints is up, or is not; /readyz, asked every second, has to say 200."""
    began = time.monotonic()
    while (await http.get("/v1/prover")).json()["endpoints"][0]["up"] != up:
        assert (await http.get("/readyz")).status_code == 200
        await asyncio.sleep(1)
    return time.monotonic() - began


@asynccontextmanager
async def others_asking(server: Server) -> AsyncGenerator[list[bool]]:
    """One trace after another, of other callers; whether each was answered."""
    answered: list[bool] = []
    asking: set[asyncio.Task[None]] = set()

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        reply = await http.post("/v1/score", json={"traces": [trace(f"other {number}", 1)]})
        answered.append(reply.json()["traces"][0]["status"] == "ok")

    async def ask_on(http: httpx.AsyncClient) -> None:
        for number in range(10_000):
            asking.add(asyncio.create_task(ask(http, number)))
            await asyncio.sleep(0.25)

    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=None)) as http:
        asking_on = asyncio.create_task(ask_on(http))
        yield answered
        asking_on.cancel()
        await asyncio.gather(asking_on, return_exceptions=True)
        await asyncio.gather(*asking)


@pytest.mark.a_minute
async def test_one_of_two_engines_that_answers_nothing_is_left_out_and_its_traces_are_proved_on_the_other(
    row: Row, tmp_path: Path
) -> None:
    traces = [trace(f"h{number}", 3) for number in range(NUM_TRACES)]
    async with (
        served_by_two(tmp_path) as (engine, other, server),
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        engine.send(signal.SIGSTOP)
        idle_s = await until_up(http, up=False)
        engine.send(signal.SIGCONT)
        await until_up(http, up=True)
        before = len(engine.asked) + len(other.asked)
        async with AsyncClient(server.url, timeout_s=120) as client, others_asking(server) as answered:
            asking = asyncio.create_task(client.score(traces))
            await until(lambda: len(engine.asked) + len(other.asked) >= before + NUM_TRACES / 2)
            engine.send(signal.SIGSTOP)
            num_before = len(answered)
            found_s = await until_up(http, up=False)
            num_meanwhile = len(answered) - num_before
            scored = await asking
            engine.send(signal.SIGCONT)
            back_s = await until_up(http, up=True)
        await clear_cache(server)
        reply = await http.post("/v1/score", json={"traces": traces})
    undisturbed = [values_of(each) for each in reply.json()["traces"]]
    num_same = sum(values_of(each) == right for each, right in zip(scored, undisturbed, strict=True))
    done = "SIGSTOP to one, idle; /readyz, asked every second, says 200"
    row.found(Figure(TITLE, done, f"after {idle_s:.0f} s", f"{MAX_S:.0f} s", idle_s <= MAX_S))
    done = f"SIGSTOP to one in a batch of {NUM_TRACES}, while the other answers {num_meanwhile} traces"
    row.found(Figure(TITLE, done, f"after {found_s:.0f} s", f"{MAX_S:.0f} s", found_s <= MAX_S and num_meanwhile > 0))
    done = "… and is not woken before they are scored"
    row.found(Figure(TITLE, done, f"{num_same} scores as without", f"{NUM_TRACES}", num_same == NUM_TRACES))
    figure = f"{len(answered) - sum(answered)} of {len(answered)} traces of other callers failed"
    row.found(Figure(TITLE, "… and SIGCONT", figure, "0", all(answered)))
    row.found(Figure(TITLE, "… until it is asked again", f"{back_s:.0f} s", f"{MAX_S:.0f} s", back_s <= MAX_S))
