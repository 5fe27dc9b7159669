"""New weights again and again under load, on the real model: no score mixes two versions."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mrt_reward.client import AsyncClient
from mrt_reward.client.admin import load_weights
from mrt_reward.mini import MODEL_DIR
from mrt_reward.types import ScoredTrace, Status
from tests.faults.mini import island_traces
from tests.faults.started import clear_cache, values_of
from tests.faults.table import Figure, Row
from tests.serving import Server

NUM_TRACES = 20
VERSIONS = ("one", "two")


def write_weights(root: Path) -> None:
    """Two sets of weights that give other values."""
    for number, name in enumerate(VERSIONS):
        shutil.copytree(MODEL_DIR, root / name)
        [file] = (root / name).glob("*.safetensors")
        tensors = load_file(file)
        save_file({key: value * (1 - 0.05 * number) for key, value in tensors.items()}, file, {"format": "pt"})
        (root / name / ".complete").touch()


async def test_no_score_mixes_two_versions(row: Row, by_scale: Callable[[int, int], int], tmp_path: Path) -> None:
    num_changes = by_scale(4, 40)
    write_weights(tmp_path)
    traces = island_traces(NUM_TRACES, seed=9)
    server = Server(tmp_path)
    server.start()
    admin = f"http://127.0.0.1:{server.admin_port}"
    right: dict[str, list[Any]] = {}
    found: list[tuple[int, ScoredTrace]] = []
    try:
        await asyncio.to_thread(server.wait)
        async with AsyncClient(server.url, timeout_s=300) as client:

            async def keep_asking() -> None:
                while True:
                    found.extend(enumerate(await client.score(traces)))

            for name in VERSIONS:
                await asyncio.to_thread(load_weights, admin, name)
                scored = await client.score(traces)
                right[str(scored[0].prover)] = [values_of(each) for each in scored]
            asking = asyncio.create_task(keep_asking())
            for number in range(num_changes):
                before = len(found)
                await asyncio.to_thread(load_weights, admin, VERSIONS[number % 2])
                # No value of a version is known once its cache is cleared, so that there is always work.
                await clear_cache(server)
                while len(found) == before:  # noqa: ASYNC110 - another task's state
                    await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    finally:
        server.kill()
    assert len(right) == 2
    first, second = right.values()
    assert all(one != two for one, two in zip(first, second, strict=True))
    done_well = [each for each in found if each[1].status is Status.OK]
    num_mixed = sum(values_of(scored) != right[str(scored.prover)][index] for index, scored in done_well)
    by_version = {version: sum(scored.prover == version for _, scored in done_well) for version in right}
    done = f"{num_changes} changes of weights under {len(found)} traces on `mini`"
    figure = f"{num_mixed} that are not their own version's, of {' and '.join(map(str, by_version.values()))}"
    row.found(Figure("no score mixes weights", done, figure, "0", num_mixed == 0 and min(by_version.values()) > 0))
    lost = {str(each.error) for _, each in found if each.status is not Status.OK}
    row.found(Figure("no score mixes weights", done, f"failed: {lost or 'none'}", "none", not lost))
