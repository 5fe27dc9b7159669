"""Two real servers, of which one is killed while it answers: nothing is lost, and groups stay together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from mrt_reward.client import AsyncClient
from mrt_reward.types import ScoredTrace, Status
from tests.client.scripted_process import ScriptedServer

NUM_GROUPS, PER_GROUP = 10, 4
TRACES = [
    {
        "id": f"{group}.{number}",
        "group": f"group {group}",
        "problem": f"{group} times 7?",
        "answer": "42",
        "completion": f"<think>\nTry {number}.\n\nThen {group} times 7.\n\nSo it is.\n</think>\n\nThe answer is 42.",
    }
    for number in range(PER_GROUP)
    for group in range(NUM_GROUPS)
]


class Recording(httpx.AsyncHTTPTransport):
    """Notes which groups each server was asked for, and which traces."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: defaultdict[int | None, set[str]] = defaultdict(set)
        self.traces: defaultdict[int | None, list[str]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)["traces"] if request.method == "POST" else []
        port, groups = request.url.port, {trace["group"] for trace in asked} - self.groups[request.url.port]
        self.groups[port] |= groups
        self.traces[port] += [trace["id"] for trace in asked]
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError:  # It was asked for nothing.
            self.groups[port] -= groups
            raise


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ScriptedServer]]:
    with ExitStack() as running:
        pair = [ScriptedServer(tmp_path), ScriptedServer(tmp_path)]
        for server in pair:
            server.start()
            running.callback(server.kill)
        for server in pair:
            server.wait()
        yield pair


async def test_a_server_killed_in_mid_batch_costs_no_call_and_its_groups_move_together(
    servers: list[ScriptedServer],
) -> None:
    by_port = {server.port: server for server in servers}
    seen = Recording()
    scored: dict[int, ScoredTrace] = {}
    before: dict[int | None, set[str]] = {}
    killed = 0
    async with AsyncClient([server.url for server in servers], transport=seen, timeout_s=240) as client:
        assert await client.ready()
        async for index, trace in client.stream(TRACES):
            scored[index] = trace
            if len(scored) == 1:
                before = {port: set(groups) for port, groups in seen.groups.items()}
                [killed] = [port for port in by_port if TRACES[index]["group"] in before[port]]
                by_port[killed].kill()
        again = await client.score(TRACES)
    [left] = set(by_port) - {killed}
    assert sorted(scored) == list(range(len(TRACES)))
    assert {trace.status for trace in scored.values()} == {Status.OK}
    assert all(before.values()), "both had groups"
    assert before[killed].isdisjoint(before[left]), "no group was asked for at both"
    assert seen.groups[killed] == before[killed], "nothing new belongs to a server that is away"
    assert seen.groups[left] == before[killed] | before[left]
    moved = [trace for trace in seen.traces[left][: -len(TRACES)] if trace in seen.traces[killed]]
    assert 0 < len(moved) < len(seen.traces[killed]), "what was answered before is not asked for again"
    assert {trace.status for trace in again} == {Status.OK}
