"""The application itself: the server's contract, replicas by queued tokens, and nothing lost as they come and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from mrt_reward.client import Client
from mrt_reward.client.retry import RetryPolicy
from tests.faults.mini import island_traces
from tests.faults.table import Figure, Row
from tests.ray_serve.application import Application, wait_until
from tests.ray_serve.burst import NUM_CALLERS, PER_CALL, burst, new_seeds, values
from tests.ray_serve.environment import KEY
from tests.serving import Server

SEEDS = new_seeds()
ONCE = RetryPolicy(max_tries=1)
"""A call fails with the first failure of its request."""


@pytest.fixture
def client(application: Application) -> Iterator[Client]:
    with Client(application.url, api_key=KEY) as client:
        yield client


def test_routes_keys_and_errors_are_those_of_the_server(application: Application) -> None:
    paths = ("/livez", "/readyz", "/version", "/metrics", "/v1/prover", "/v1/overview", "/docs", "/openapi.json")
    assert {path: application.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    assert "mrt_reward_queue_tokens" in application.get("/metrics").text
    without = httpx.get(f"{application.url}/v1/prover", timeout=60)
    assert (without.status_code, without.json()["error"]["code"]) == (401, "unauthorized")
    url, key = f"{application.url}/v1/score", {"Authorization": f"Bearer {KEY}"}
    wrong = httpx.post(url, json={"traces": [], "option": 1}, headers=key, timeout=60)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_request")
    traces = island_traces(3)
    with httpx.stream(
        "POST", url, json={"traces": traces}, timeout=60, headers={**key, "Accept": "application/x-ndjson"}
    ) as reply:
        lines = list(reply.iter_lines())
    assert (reply.status_code, len(lines)) == (200, 3)


def test_values_are_those_of_a_plain_server(client: Client, tmp_path: Path, row: Row) -> None:
    traces = island_traces(24)
    plain = Server(tmp_path, api_key=KEY)
    plain.start()
    try:
        plain.wait()
        with Client(plain.url, api_key=KEY) as other:
            wanted = values(other.score(traces))
    finally:
        plain.kill()
    found = values(client.score(traces))
    assert {name: len(each) for name, each in found.items()} == {name: len(each) for name, each in wanted.items()}
    apart = max(float(np.abs(np.array(found[name]) - wanted[name]).max()) for name in wanted)
    row.found(
        Figure(
            "1", "24 traces: largest difference of a value from a plain server's", f"{apart:.1e}", "1e-5", apart <= 1e-5
        )
    )


def test_queued_tokens_bring_a_second_replica_of_which_one_may_be_killed(
    application: Application, client: Client, row: Row
) -> None:
    assert application.num_replicas == 1
    with burst(client, SEEDS) as found:
        wait_until(lambda: application.num_replicas == 2)
        killed, _ = application.replica_pids
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in application.replica_pids and len(application.replica_pids) == 2)
        wait_until(lambda: application.num_replicas == 2)
    done = f"{NUM_CALLERS} callers of {PER_CALL} traces each: replicas"
    row.found(Figure("2", done, "from 1 to 2", "2", holds=True))
    lost = f"{found.num_lost} of {found.num_asked}"
    done = "one of the two is killed (SIGKILL), the client asks again: traces lost"
    row.found(Figure("3", done, lost, "0", found.num_lost == 0))
    wait_until(lambda: len(application.replica_pids) == 1)
    row.found(Figure("4", "nobody asks: replicas", "from 2 to 1", "1", application.num_replicas == 1))


def test_replicas_that_are_replaced_finish_what_they_have(application: Application, row: Row) -> None:
    pids = application.replica_pids
    with Client(application.url, api_key=KEY, retry=ONCE) as client, burst(client, SEEDS) as found:
        wait_until(lambda: bool(found.scored))
        application.deploy(cache_memory_mb=32)
        wait_until(lambda: not set(pids) & set(application.replica_pids))
    assert found.errors == []
    lost = f"{found.num_lost} of {found.num_asked}"
    row.found(
        Figure("5", "deployed anew meanwhile, the client asks once only: traces lost", lost, "0", found.num_lost == 0)
    )
