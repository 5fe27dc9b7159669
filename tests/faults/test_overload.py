"""More work than the server takes: what is refused costs next to nothing, what is taken is right."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.faults.scripted import HELD, Script
from tests.faults.started import Started, expected, started, trace, values_of
from tests.faults.table import Figure, Row
from tests.processes import processor_s, resident_mb

TRACES_A_REQUEST = 8
NUM_ACCEPTED, NUM_REFUSED = 20, 200
OVERLOAD = 10
FITTING, TRACE_TOKENS = 4, 600
"""Traces that the queue takes, and about the tokens of each."""
MAX_GROWTH = 1.05


def request(name: str) -> list[dict[str, Any]]:
    return [trace(f"{name}.{index}") for index in range(TRACES_A_REQUEST)]


async def held(server: Started) -> asyncio.Task[httpx.Response]:
    """A request that fills the queue, and stays."""
    waiting = asyncio.create_task(server.post([{**trace("held"), "problem": HELD}]))
    while not await server.metric("mrt_reward_engine_inflight"):  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.01)
    return waiting


async def unread(server: Started, num_bytes: int) -> bytes:
    """What the server says to a request of which it gets the head alone."""
    host = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    head = f"POST /v1/score HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {num_bytes}\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    finally:
        writer.close()


async def test_a_refusal_costs_a_twentieth_and_needs_no_body(row: Row, tmp_path: Path) -> None:
    script = Script(num_slots=4, settings={"max_queue_tokens": 1_000_000})
    bodies = [request(str(number)) for number in range(NUM_ACCEPTED)]
    async with started(script, tmp_path / "log") as server:
        await server.post(request("warm"))
        before_s = processor_s([server.pid])
        for body in bodies:
            assert (await server.post(body)).status_code == 200
        accepted_s = (processor_s([server.pid]) - before_s) / NUM_ACCEPTED
    async with started(Script(num_slots=1, settings={"max_queue_tokens": 1}), tmp_path / "log") as server:
        waiting = await held(server)
        refused = await server.post(bodies[0])
        before_s = processor_s([server.pid])
        for number in range(NUM_REFUSED):
            refused = await server.post(bodies[number % NUM_ACCEPTED])
            assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        refused_s = (processor_s([server.pid]) - before_s) / NUM_REFUSED
        early = await unread(server, len(json.dumps({"traces": bodies[0]})))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    row.found(
        Figure(
            "a refusal is cheap",
            f"{NUM_REFUSED} requests of {TRACES_A_REQUEST} traces to a full queue, {NUM_ACCEPTED} to an empty one",
            f"{refused_s / accepted_s:.3f} of the processor time of one that is taken",
            "1/20",
            refused_s <= accepted_s / 20,
        )
    )
    is_early = early.startswith(b"HTTP/1.1 429") and b"retry-after" in early.lower()
    row.found(Figure("a refusal is early", "the head alone was sent", "429" if is_early else "none", "429", is_early))


class Watch:
    """Looks at a server while it works.

    Attributes:
        most_tokens: that were queued.
        memory_mb: resident, at each look.

    """

    def __init__(self, server: Started) -> None:
        self._server = server
        self.most_tokens = 0.0
        self.memory_mb: list[float] = []

    async def look(self) -> None:
        while True:
            self.memory_mb.append(resident_mb(self._server.pid))
            self.most_tokens = max(self.most_tokens, await self._server.metric("mrt_reward_queue_tokens"))
            await asyncio.sleep(0.05)


async def test_ten_times_too_much_is_refused_and_the_rest_is_right(
    row: Row, by_scale: Callable[[int, int], int], tmp_path: Path
) -> None:
    num_waves = by_scale(8, 200)
    traces = [trace(f"t{number}", 4) for number in range(OVERLOAD * FITTING)]
    right = await expected(Script(), traces)
    limit = FITTING * TRACE_TOKENS
    # The cache holds nothing, so that each wave is work.
    script = Script(delay_s=0.3, num_slots=1, settings={"max_queue_tokens": limit, "cache_memory_mb": 1e-6})
    async with started(script, tmp_path / "log") as server:
        watch = Watch(server)
        looking = asyncio.create_task(watch.look())
        replies: list[httpx.Response] = []
        for _ in range(num_waves):
            replies += await asyncio.gather(*(server.post([each]) for each in traces))
            if len(replies) == 3 * len(traces):
                watch.memory_mb.clear()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    statuses = Counter(reply.status_code for reply in replies)
    assert set(statuses) == {200, 429}, statuses
    reported = sum(int(reply.headers.get("retry-after", "0")) >= 1 for reply in replies if reply.status_code == 429)
    scored = [each for reply in replies if reply.status_code == 200 for each in reply.json()["traces"]]
    num_wrong = sum(values_of(each) != right[each["id"]] for each in scored)
    done = f"{num_waves} waves of {len(traces)} requests at once, {OVERLOAD} times what the queue takes"
    assert statuses[429] > len(replies) / 2, "it was hardly overloaded, so that this shows nothing"
    tokens = f"{watch.most_tokens:.0f} tokens at most"
    row.found(Figure("the queue is bounded", done, tokens, f"{limit}", 0 < watch.most_tokens <= limit))
    grown = max(watch.memory_mb) / watch.memory_mb[0]
    row.found(Figure("memory is flat", done, f"{grown:.3f} of that at wave 4", f"{MAX_GROWTH}", grown <= MAX_GROWTH))
    refused = f"{reported} of {statuses[429]}"
    row.found(Figure("refusals say when to come again", done, refused, "all", reported == statuses[429]))
    wrong = f"{num_wrong} of {len(scored)} wrong"
    row.found(Figure("what is taken is right", done, wrong, "0", num_wrong == 0 and len(scored) >= num_waves))
