"""The clock on the wall jumps by days: nothing that is waited for notices."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.faults.scripted import HELD, Script
from tests.faults.started import expected, started, trace, values_of
from tests.faults.table import Figure, Row

NUM_TRACES = 30


async def test_a_clock_that_jumps_by_days_ends_no_wait_and_begins_none(row: Row, tmp_path: Path) -> None:
    traces = [trace(f"w{number}", 3) for number in range(NUM_TRACES)]
    right = await expected(Script(), traces)
    settings = {"cache_path": str(tmp_path / "scores.sqlite"), "default_deadline_s": 60}
    async with started(Script(delay_s=0.05, jumps=True, settings=settings), tmp_path / "log") as server:
        replies = await asyncio.gather(*(server.post([each]) for each in traces))
        again = [await server.post([each]) for each in traces]
        # A deadline that is due is due, whatever the clock says.
        late = await server.http.post(
            "/v1/score", json={"traces": [{**trace("held"), "problem": HELD}]}, headers={"X-Deadline-Ms": "500"}
        )
        num_hits = await server.metric("mrt_reward_cache_hits_total")
        asking = asyncio.create_task(server.post([trace("last", 3)]))
        while not await server.metric("mrt_reward_engine_inflight"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        last = await asking
        status = await asyncio.wait_for(server.process.wait(), 60)
    scored = [each for reply in (*replies, *again) for each in reply.json()["traces"]]
    num_right = sum(values_of(each) == right[each["id"]] for each in scored)
    title, done = "the clock jumps", "two days forth and back at each look"
    figure = f"{num_right} scores right"
    row.found(
        Figure(title, f"{done}, {NUM_TRACES} traces twice", figure, f"{2 * NUM_TRACES}", num_right == 2 * NUM_TRACES)
    )
    row.found(Figure(title, done, f"{num_hits:.0f} values from the cache", "some", num_hits >= NUM_TRACES))
    row.found(Figure(title, f"{done}, a deadline of 0.5 s", f"{late.status_code}", "504", late.status_code == 504))
    figure = f"{last.status_code}, exit status {status}"
    row.found(Figure(title, f"{done}, SIGTERM", figure, "200, 0", last.status_code == 200 and status == 0))
