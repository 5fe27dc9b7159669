"""Signals: one begins a drain, more SIGTERM change nothing, one more SIGINT gives up in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import TRACE

SERVER = """
import asyncio
from mrt_reward.config import ServeSettings
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from tests.service.conftest import WordGrader, speller

class Counting(ScriptedProver):
    async def prove(self, proof: Proof) -> Proven:
        print("proving", flush=True)
        return await super().prove(proof)

async def main():
    scorer = Scorer(Counting([0.25, 0.5, 0.5, 1.0], delay_s=DELAY), {"word": WordGrader()}, speller)
    settings = ServeSettings(port=0, admin_port=0, log_format="json", canary_every_s=0)
    await serve(scorer, settings, on_ready=lambda port: print(port, flush=True))

asyncio.run(main())
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, http: httpx.AsyncClient) -> None:
        self.process = process
        self.http = http

    async def busy(self, *requests: dict[str, str]) -> list[asyncio.Task[httpx.Response]]:
        """These requests, once one of them is being proved."""
        sent = [
            asyncio.create_task(
                self.http.post("/v1/score", json={"traces": [{**TRACE, "problem": str(index)}]}, headers=headers)
            )
            for index, headers in enumerate(requests)
        ]
        assert self.process.stdout is not None
        await asyncio.wait_for(self.process.stdout.readline(), 30)
        return sent

    async def draining(self) -> None:
        """Return once no new work is taken."""
        while (await self.http.get("/readyz")).status_code == 200:  # noqa: ASYNC110 - another process' state
            await asyncio.sleep(0.01)

    async def ended(self) -> list[dict[str, object]]:
        """What it logged, once it has ended with 0."""
        _, logs = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode == 0, logs.decode()
        assert b"Traceback" not in logs
        return [json.loads(line) for line in logs.decode().splitlines()]


@asynccontextmanager
async def started(delay_s: float) -> AsyncGenerator[Process]:
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER.replace("DELAY", str(delay_s)), stdout=pipe, stderr=pipe, env=environment
    )
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 60))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield Process(process, http)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_more_sigterm_throw_no_accepted_work_away(first: signal.Signals) -> None:
    async with started(delay_s=1.5) as server:
        sent = await server.busy(*[{}] * 8)
        server.process.send_signal(first)
        await server.draining()
        for _ in range(3):
            server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
        replies = await asyncio.gather(*sent)
        accepted = [reply for reply in replies if reply.status_code == 200]
        refused = [reply for reply in replies if reply.status_code != 200]
        assert accepted
        # What came after the signal was refused in order; nothing was cut off.
        assert all(reply.status_code == 503 and reply.headers["retry-after"] for reply in refused)
        events = [event["event"] for event in await server.ended() if event["event"] != "request"]
    assert events == ["serving", "draining", *["signal_while_draining"] * 3]


@pytest.mark.parametrize("headers", [{}, {"accept": "application/x-ndjson"}])
async def test_one_more_sigint_gives_up_at_once_and_says_when_to_come_again(headers: dict[str, str]) -> None:
    async with started(delay_s=120) as server:
        [sent] = await server.busy(headers)
        server.process.send_signal(signal.SIGINT)
        await server.draining()
        assert not sent.done()
        server.process.send_signal(signal.SIGINT)
        reply = await asyncio.wait_for(sent, 20)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "draining")
        assert int(reply.headers["retry-after"]) >= 1
        events = await server.ended()
    assert "drain_cut_short" in [event["event"] for event in events]
    assert "request_failed" not in [event["event"] for event in events]


async def test_a_body_that_is_still_coming_is_given_up_in_order_too() -> None:
    async with started(delay_s=0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http.base_url.port)
        writer.write(b"POST /v1/episodes HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: 10\r\n\r\n{")
        assert (await server.http.get("/readyz")).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        answer = await asyncio.wait_for(reader.read(1000), 20)
        assert b" 503 " in answer
        assert b"retry-after: " in answer.lower()
        writer.close()
        await writer.wait_closed()
        await server.ended()
