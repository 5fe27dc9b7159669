"""A live server on loopback, with a scripted prover."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mrt_reward.certificates import certificates
from mrt_reward.config import ServeSettings
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from tests.service.conftest import THINKING, WordGrader, speller

TRACE = {
    "id": "t",
    "problem": "6 times 7?",
    "answer": "42",
    "completion": THINKING + "</think>\n\nThe final answer is \\boxed{42}",
}
VALUES = [0.25, 0.5, 0.5, 1.0]


@dataclass(frozen=True)
class Live:
    """A running server."""

    url: str
    prover: ScriptedProver
    scorer: Scorer
    http: httpx.AsyncClient
    task: asyncio.Task[None]


@asynccontextmanager
async def live_server(
    prover: ScriptedProver | None = None, scorer: Scorer | None = None, **settings: object
) -> AsyncGenerator[Live]:
    """Start a server, and stop it afterwards; a scorer, where it is given, is the prover's."""
    prover = prover or ScriptedProver(VALUES)
    scorer = scorer or Scorer(prover, {"word": WordGrader()}, speller)
    own: dict[str, object] = {"port": 0, "admin_port": 0, "log_format": "off", "drain_timeout_s": 2}
    # A script tells what is asked, and nobody but the test asks.
    fields = {**own, "canary_every_s": 0, **settings}
    chosen = ServeSettings(**fields)  # type: ignore[arg-type]
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(scorer, chosen, on_ready=ready.set_result))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    if task.done():
        task.result()
    url = f"http://127.0.0.1:{ready.result()}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20, verify=certificates()) as http:
            yield Live(url, prover, scorer, http, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def threaded_server(prover: ScriptedProver | None = None, **settings: object) -> Generator[str]:
    """A server in a thread of its own, for callers that block; gives its URL."""
    loop = asyncio.new_event_loop()
    found: list[str] = []
    started, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with live_server(prover, None, **settings) as live:
            found.append(live.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert started.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def free_port() -> int:
    """A port of loopback that nobody listens on at present."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def live() -> AsyncGenerator[Live]:
    async with live_server() as server:
        yield server


def post(live: Live, path: str, body: object, **headers: str) -> Any:  # an awaitable response
    return live.http.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})
