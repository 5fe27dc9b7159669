"""The same Idempotency-Key twice is scored once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.exceptions import HTTPException

from mrt_reward.errors import Draining, ProverError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.calls import collected
from mrt_reward.server.recording import MAX_KEPT, MAX_KEPT_BYTES, Asked, Recording, Replays, held_bytes
from tests.server.conftest import TRACE, VALUES, live_server, post

REQUEST = Asked(b"a body", 4)


class Work:
    """Counts how often it begins."""

    def __init__(self, *, fails: bool = False, endless: bool = False) -> None:
        self.begun = 0
        self.stopped = 0
        self._fails, self._endless = fails, endless

    async def __call__(self) -> AsyncGenerator[int]:
        self.begun += 1
        try:
            yield 1
            await asyncio.sleep(100 if self._endless else 0)
            if self._fails:
                raise ProverError("no")
            yield 2
        finally:
            self.stopped += 1


async def test_an_identical_request_gets_the_same_result() -> None:
    work, replays = Work(), Replays()
    both = [collected(replays.recording("k", REQUEST, work).read()) for _ in range(2)]
    assert await asyncio.gather(*both) == [[1, 2], [1, 2]]
    assert await collected(replays.recording("k", REQUEST, work).read()) == [1, 2]
    assert work.begun == 1
    await collected(replays.recording(None, REQUEST, work).read())
    assert work.begun == 2


async def test_another_body_under_the_same_key_is_refused() -> None:
    replays = Replays()
    replays.recording("k", REQUEST, Work())
    with pytest.raises(HTTPException, match="409"):
        replays.recording("k", Asked(b"another", 4), Work())


async def test_results_are_forgotten_after_ten_minutes_and_failures_at_once() -> None:
    now = 0.0
    replays = Replays(lambda: now)
    work, failing = Work(), Work(fails=True)
    await collected(replays.recording("k", REQUEST, work).read())
    now = 601.0
    await collected(replays.recording("k", REQUEST, work).read())
    assert work.begun == 2
    for _ in range(2):
        with pytest.raises(ProverError):
            await collected(replays.recording("f", REQUEST, failing).read())
    assert failing.begun == 2


async def test_what_is_remembered_is_bounded() -> None:
    replays, work = Replays(), Work()
    for index in range(MAX_KEPT + 1):
        await collected(replays.recording(str(index), REQUEST, work).read())
    await collected(replays.recording("0", REQUEST, work).read())
    assert work.begun == MAX_KEPT + 2
    await collected(replays.recording("big", Asked(b"big", MAX_KEPT_BYTES + 1), work).read())
    await collected(replays.recording("5", REQUEST, work).read())
    assert work.begun == MAX_KEPT + 4


async def test_results_count_with_the_memory_they_hold() -> None:
    async def results() -> AsyncGenerator[list[str]]:
        yield ["x" * 1_000_000]
        yield ["y" * 1_000_000]

    assert held_bytes(["x" * 1_000_000]) > 1_000_000
    replays = Replays()
    recording = replays.recording("k", REQUEST, results)
    await collected(recording.read())
    assert 2_000_000 < recording.num_bytes < 2_100_000
    more = MAX_KEPT_BYTES // 2_000_000 + 1
    for index in range(more):
        await collected(replays.recording(f"n{index}", REQUEST, results).read())
    assert not replays.knows("k")
    assert replays.knows(f"n{more - 1}")


async def test_work_stops_when_its_last_reader_leaves() -> None:
    work = Work(endless=True)
    recording = Recording(work())
    first, second = recording.read(), recording.read()
    assert await anext(first) == await anext(second) == 1
    await first.aclose()
    assert work.stopped == 0
    await second.aclose()
    assert work.stopped == 1
    assert not recording.reusable
    with pytest.raises(Draining):
        await collected(recording.read())


async def test_a_retry_on_the_wire_is_not_scored_again() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=0.2)) as live:
        body = {"traces": [TRACE]}
        calls = [post(live, "/v1/score", body, idempotency_key="k") for _ in range(2)]
        lines = post(live, "/v1/score", body, idempotency_key="k", accept="application/x-ndjson")
        first, second, streamed = await asyncio.gather(*calls, lines)
        assert first.json() == second.json()
        assert streamed.json()["trace"] == first.json()["traces"][0]
        assert (await live.http.get("/metrics")).text.count('mrt_reward_items_total{outcome="ok"} 1.0') == 1
        other = {"traces": [{**TRACE, "id": "other"}]}
        assert (await post(live, "/v1/score", other, idempotency_key="k")).status_code == 409
        assert (await post(live, "/v1/episodes", other, idempotency_key="k")).status_code == 200
