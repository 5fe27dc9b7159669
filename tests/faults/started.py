"""Servers in processes of their own, and what is sent to them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from mrt_reward.types import ScoredTrace
from tests.faults.scripted import Script, scorer_of
from tests.service.conftest import make_trace
from tests.serving import Server

START_S = 120.0
PARAGRAPH = "We try {n}, and then the next one; it does not lead to the end, so that we look at another way.\n\n"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Started:
    """A server that runs.

    Attributes:
        process: its own.
        url: of its public port.
        http: connections to it.

    """

    process: asyncio.subprocess.Process
    url: str
    http: httpx.AsyncClient

    @property
    def pid(self) -> int:
        return self.process.pid

    async def post(self, traces: Sequence[dict[str, Any]]) -> httpx.Response:
        return await self.http.post("/v1/score", json={"traces": traces})

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples; `AssertionError` where the server has none of that name."""
        text = (await self.http.get("/metrics")).text
        assert f"# TYPE {name} " in text, f"the server has no metric {name}"
        lines = text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    async def stored(self) -> None:
        """Wait until no value waits for the cache's file any more."""
        while await self.metric("mrt_reward_cache_store_pending"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def started(script: Script, log: Path) -> AsyncGenerator[Started]:
    """A server of the scripted engine, killed afterwards where it still runs.

    Args:
        script: how it is.
        log: file of what it writes to stderr.

    """
    command = [sys.executable, "-m", "tests.faults.scripted", json.dumps(asdict(script))]
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=stderr, cwd=ROOT
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        assert line, f"it did not start: see {log}"
        url = f"http://127.0.0.1:{int(line)}"
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
            yield Started(process, url, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def trace(name: str, num_paragraphs: int = 12) -> dict[str, Any]:
    """A trace of its own, of about 100 tokens of the scripted engine for each paragraph."""
    thinking = "".join(PARAGRAPH.format(n=f"{name} {n}") for n in range(num_paragraphs))
    return {
        "id": name,
        "problem": f"Which way leads to {name}?",
        "answer": "42",
        "completion": thinking + "</think>\n\nThe final answer is \\boxed{42}",
    }


def values_of(scored: ScoredTrace | dict[str, Any]) -> tuple[float | None, ...]:
    """Of a trace of a reply, or of one of the pipeline itself."""
    if isinstance(scored, ScoredTrace):
        return tuple(value.value for value in scored.values)
    return tuple(value["value"] for value in scored["values"])


async def expected(script: Script, traces: Sequence[dict[str, Any]]) -> dict[str, tuple[float | None, ...]]:
    """Values of the traces by their ids: those of a pipeline that nobody disturbs."""
    scorer = scorer_of(replace(script, delay_s=0.0, ledger="", settings={}))
    asked = [make_trace(each["id"], **{**each, "answer": (each["answer"],), "id": each["id"]}) for each in traces]
    try:
        return {scored.id: values_of(scored) for scored in await scorer.score(asked)}
    finally:
        await scorer.close()


async def clear_cache(server: Server) -> None:
    """Let a server forget what it proved."""
    async with httpx.AsyncClient(timeout=60) as http:
        url = f"http://127.0.0.1:{server.admin_port}/admin/cache"
        (await http.delete(url, headers={"Content-Type": "application/json"})).raise_for_status()


async def until(condition: Callable[[], object], timeout_s: float = 240.0) -> None:
    """Wait for it; `TimeoutError` where it never comes."""

    async def watch() -> None:
        while not condition():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)

    await asyncio.wait_for(watch(), timeout_s)
