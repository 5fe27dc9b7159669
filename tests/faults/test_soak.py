"""A server as a user starts it, for a minute or an hour, with callers of all kinds: nothing grows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.faults.mini import island_traces
from tests.faults.table import Figure, Row
from tests.processes import children, num_descriptors, resident_mb
from tests.serving import Server

PAUSE_S = 0.5
MAX_MB_PER_HOUR = 30.0
"""Of a soak that lasts an hour. One of a minute sees the noise of its allocator alone: it may grow by a twentieth."""


async def well_behaved(http: httpx.AsyncClient, traces: list[dict[str, Any]]) -> str:
    reply = await http.post("/v1/score", json={"traces": traces})
    return str(reply.status_code)


async def in_a_hurry(http: httpx.AsyncClient, traces: list[dict[str, Any]]) -> str:
    reply = await http.post("/v1/score", json={"traces": traces}, headers={"X-Deadline-Ms": "1"})
    return str(reply.status_code)


async def wrong(http: httpx.AsyncClient, traces: list[dict[str, Any]]) -> str:
    reply = await http.post("/v1/score", json={"traces": traces, "no such field": 1})
    return str(reply.status_code)


async def leaving(http: httpx.AsyncClient, traces: list[dict[str, Any]]) -> str:
    async with http.stream("POST", "/v1/score", json={"traces": traces}, headers={"Accept": "application/x-ndjson"}):
        return "left"


CALLERS = (well_behaved, in_a_hurry, wrong, leaving)
EXPECTED = frozenset({"200", "422", "504", "left"})


def family(pid: int) -> list[int]:
    """A process and all that it started, and that these started."""
    return [pid, *(each for child in children(pid) for each in family(child))]


class Gauges:
    """What the server uses, over time."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.at_s: list[float] = []
        self.memory_mb: list[float] = []
        self.descriptors: list[int] = []
        self.processes: list[int] = []

    def read(self) -> None:
        self.at_s.append(time.monotonic())
        self.memory_mb.append(resident_mb(self._pid))
        self.descriptors.append(num_descriptors(self._pid))
        self.processes.append(len(family(self._pid)))

    def settled(self, values: list[float] | list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Without the first third, in which caches fill."""
        return np.array(values[len(values) // 3 :], np.float64)

    def slope_mb_per_hour(self) -> float:
        return float(np.polyfit(self.settled(self.at_s), self.settled(self.memory_mb), 1)[0] * 3600)

    def growth(self) -> float:
        """Memory at the end in terms of that after the first third."""
        memory_mb = self.settled(self.memory_mb)
        return float(np.median(memory_mb[-5:]) / np.median(memory_mb[:5]))


async def soaked(server: Server, gauges: Gauges, seconds: float) -> Counter[str]:
    """Statuses of what was asked."""
    rng, statuses = random.Random(7), Counter[str]()
    until = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        while time.monotonic() < until:
            traces = island_traces(rng.randint(1, 4), seed=rng.randrange(10**6))
            callers = rng.sample(CALLERS, 2)
            statuses.update(await asyncio.gather(*(call(http, traces) for call in callers)))
            gauges.read()
            await asyncio.sleep(PAUSE_S)
    return statuses


@pytest.mark.a_minute
async def test_a_soak_leaves_memory_and_descriptors_as_they_were(
    row: Row, by_scale: Callable[[int, int], int], tmp_path: Path
) -> None:
    seconds = float(os.environ.get("MRT_REWARD_SOAK_S") or by_scale(60, 3600))
    server = Server(
        tmp_path, settings={"MRT_REWARD_CACHE_PATH": str(tmp_path / "s"), "MRT_REWARD_CACHE_MEMORY_MB": "1"}
    )
    server.start()
    try:
        await asyncio.to_thread(server.wait)
        assert server.process is not None
        gauges = Gauges(server.process.pid)
        statuses = await soaked(server, gauges, seconds)
        server.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(server.process.wait, 60)
    finally:
        server.kill()
    assert set(statuses) <= EXPECTED, statuses
    asked = ", ".join(f"{count} x {name}" for name, count in sorted(statuses.items()))
    done = f"{seconds:.0f} s of `mrt-reward serve` on `mini`: {asked}"
    slope, growth = gauges.slope_mb_per_hour(), gauges.growth()
    memory = f"{gauges.memory_mb[-1]:.0f} MB, {growth:.3f} of that after the first third ({slope:+.1f} MB an hour)"
    long = seconds >= 3600
    bound = f"{MAX_MB_PER_HOUR:g} MB an hour" if long else "1.05"
    title = "a soak leaves nothing behind"
    row.found(Figure(title, done, memory, bound, slope <= MAX_MB_PER_HOUR if long else growth <= 1.05))
    for what, found in (("descriptors", gauges.descriptors), ("processes", gauges.processes)):
        settled = gauges.settled(found)
        most = f"{settled[:3].max():.0f} after the first third, {settled[-1]:.0f} at the end"
        row.found(Figure(title, done, f"{what}: {most}", "at most 2 more", settled[-1] <= settled[:3].max() + 2))
    row.found(Figure(title, done, f"exit status {status}", "0", status == 0))
