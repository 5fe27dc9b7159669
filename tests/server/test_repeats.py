"""A repeated request is not proved twice, and its Idempotency-Key belongs to its body."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from mrt_reward.errors import ProverError
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.repeats import KEEP_S, MAX_KEYS, Repeats
from tests.server.conftest import TRACE, VALUES, Live, live_server, post

TRACES = [{**TRACE, "id": str(index), "problem": f"Question {index}?"} for index in range(3)]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/score": {"traces": TRACES},
    "/v1/advantages": {"groups": [{"traces": TRACES}]},
    "/get_reward": {
        "query": [f"Q{index}: <think>a\n\nb</think>42" for index in range(3)],
        "prompts": [f"Q{index}: " for index in range(3)],
        "labels": ["42"] * 3,
    },
}


class Waiting(ScriptedProver):
    """Ends no proof before it is let, and counts those that were stopped."""

    def __init__(self) -> None:
        super().__init__(VALUES, num_slots=8)
        self.go = asyncio.Event()
        self.num_stopped = 0

    async def prove(self, proof: Proof) -> Proven:
        proven = await super().prove(proof)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.num_stopped += 1
            raise
        return proven


def _paid(path: str, reply: dict[str, Any]) -> object:
    """A reply without what it cost, which a repeated request does not pay again."""
    if path == "/get_reward":
        return reply
    traces = reply["traces"] if path == "/v1/score" else [each["trace"] for each in reply["groups"][0]]
    for trace in traces:
        del trace["usage"]
    return reply


async def _until_proving(live: Live, num_calls: int) -> None:
    while live.prover.num_calls < num_calls:  # noqa: ASYNC110 - another task's state
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", BODIES)
async def test_a_repeated_request_gets_the_same_again_and_proves_nothing(path: str) -> None:
    async with live_server() as live:
        first = await post(live, path, BODIES[path], idempotency_key="k")
        assert live.prover.num_calls == 3
        again = await post(live, path, BODIES[path], idempotency_key="k")
        assert live.prover.num_calls == 3
    assert (first.status_code, again.status_code) == (200, 200)
    assert _paid(path, again.json()) == _paid(path, first.json())


@pytest.mark.parametrize("path", BODIES)
async def test_a_request_that_is_repeated_while_the_first_still_runs_waits_for_its_proofs(path: str) -> None:
    prover = Waiting()
    async with live_server(prover) as live:
        both = [asyncio.create_task(post(live, path, BODIES[path], idempotency_key="k")) for _ in range(2)]
        await _until_proving(live, 3)
        prover.go.set()
        first, again = await asyncio.gather(*both)
        assert prover.num_calls == 3
    assert _paid(path, again.json()) == _paid(path, first.json())


async def test_a_caller_who_repeats_and_drops_the_first_connection_costs_no_proof_twice() -> None:
    prover = Waiting()
    async with live_server(prover) as live:
        first = asyncio.create_task(post(live, "/v1/score", BODIES["/v1/score"], idempotency_key="k"))
        await _until_proving(live, 3)
        tokens = live.scorer.queue.queued_tokens
        again = asyncio.create_task(post(live, "/v1/score", BODIES["/v1/score"], idempotency_key="k"))
        while live.scorer.queue.queued_tokens == tokens:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        # Admitted is not yet waiting for the same proofs.
        flights = set(live.scorer.cache._flights.values())  # pyright: ignore[reportPrivateUsage]
        while any(each._num_waiting < 2 for each in flights):  # pyright: ignore[reportPrivateUsage]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        first.cancel()
        while live.scorer.queue.queued_tokens > tokens:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        prover.go.set()
        traces = (await again).json()["traces"]
        assert [trace["status"] for trace in traces] == ["ok"] * 3
        assert (prover.num_calls, prover.num_stopped) == (3, 0)


async def test_a_caller_who_hangs_up_and_comes_back_pays_only_for_what_was_not_done() -> None:
    prover = Waiting()
    async with live_server(prover) as live:
        prover.go.set()
        await post(live, "/v1/score", {"traces": TRACES[:2]})
        prover.go.clear()
        first = asyncio.create_task(post(live, "/v1/score", BODIES["/v1/score"], idempotency_key="k"))
        await _until_proving(live, 3)
        first.cancel()
        while not prover.num_stopped:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        prover.go.set()
        again = await post(live, "/v1/score", BODIES["/v1/score"], idempotency_key="k")
        assert again.status_code == 200
        assert (prover.num_calls, prover.num_stopped) == (4, 1)


async def test_a_trace_that_failed_is_tried_again_and_its_neighbours_are_not() -> None:
    class Once(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            proven = await super().prove(proof)
            if self.num_calls == 1:
                raise ProverError("not this time")
            return proven

    async with live_server(Once(VALUES, num_slots=1)) as live:
        statuses = [
            [trace["status"] for trace in (await post(live, "/v1/score", BODIES["/v1/score"])).json()["traces"]]
            for _ in range(2)
        ]
        assert (sorted(statuses[0]), statuses[1]) == (["error", "ok", "ok"], ["ok"] * 3)
        assert live.prover.num_calls == 4


async def test_another_body_or_another_route_under_the_same_key_is_refused(live: Live) -> None:
    body, other = {"traces": [TRACE]}, {"traces": [{**TRACE, "id": "other"}]}
    for accept in ("application/json", "application/x-ndjson"):
        assert (await post(live, "/v1/score", body, idempotency_key="k", accept=accept)).status_code == 200
        refused = await post(live, "/v1/score", other, idempotency_key="k", accept=accept)
        assert (refused.status_code, "Idempotency-Key" in refused.json()["error"]["message"]) == (409, True)
    elsewhere = await post(live, "/v1/advantages", {"groups": [{"traces": [TRACE]}]}, idempotency_key="k")
    assert elsewhere.status_code == 409
    assert (await post(live, "/v1/episodes", other, idempotency_key="k")).status_code == 200
    assert (await post(live, "/v1/score", other)).status_code == 200


def test_a_key_is_free_again_after_ten_minutes_without_use() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    repeats.note("k", b"one")
    now = KEEP_S - 1
    repeats.note("k", b"one")
    with pytest.raises(HTTPException, match="409"):
        repeats.note("k", b"another")
    now = 2 * KEEP_S - 1
    repeats.note("k", b"another")
    with pytest.raises(HTTPException, match="409"):
        repeats.note("k", b"one")


def test_keys_are_bounded_and_the_one_used_least_recently_is_forgotten() -> None:
    repeats = Repeats()
    for index in range(MAX_KEYS):
        repeats.note(str(index), b"one")
    repeats.note("0", b"one")
    repeats.note("more", b"one")
    assert len(repeats) == MAX_KEYS
    with pytest.raises(HTTPException, match="409"):
        repeats.note("0", b"another")
    repeats.note("1", b"another")
