"""Very many concurrent calls of one client: none is lost, and each gets its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mrt_reward.client import AsyncClient
from tests.faults.scripted import Script
from tests.faults.started import expected, started, trace, values_of
from tests.faults.table import Figure, Row

NUM_KINDS = 50


async def test_no_call_of_very_many_is_lost(row: Row, by_scale: Callable[[int, int], int], tmp_path: Path) -> None:
    num_calls = by_scale(4_000, 16_000)
    kinds = [trace(f"m{number}", 1) for number in range(NUM_KINDS)]
    right = await expected(Script(), kinds)
    async with started(Script(num_slots=32), tmp_path / "log") as server, AsyncClient(server.url) as client:

        async def call(number: int) -> bool:
            kind = kinds[number % NUM_KINDS]
            (scored,) = await client.score([{**kind, "metadata": {"call": number}}])
            assert scored.metadata == {"call": number}
            return values_of(scored) == right[kind["id"]]

        results = await asyncio.gather(*(call(number) for number in range(num_calls)), return_exceptions=True)
        num_requests = await server.metric("mrt_reward_requests_total")
    num_right = sum(result is True for result in results)
    done = f"{num_calls} concurrent calls of one client, in {num_requests:.0f} requests"
    row.found(Figure("no call is lost", done, f"{num_calls - num_right} lost or wrong", "0", num_right == num_calls))
