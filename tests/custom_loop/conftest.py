"""A real server; and what stands beside a script is imported by its name, as it is where the script is started."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrt_reward.config import ServeSettings
from mrt_reward.server.run import serve
from mrt_reward.wiring import build_scorer
from tests.serving import free_port

sys.path.append(str(Path(__file__).parents[2] / "adapters" / "custom_loop"))


@dataclass(frozen=True)
class Served:
    """Where the server is, and the folder that it loads weights from."""

    url: str
    admin_url: str
    weights_root: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """What `mrt-reward serve --weights-root …` runs: the bundled model proves."""
    root, admin_port = tmp_path_factory.mktemp("weights"), free_port()
    ready: list[int] = []
    started, stop = threading.Event(), threading.Event()

    async def run() -> None:
        settings = ServeSettings(
            port=0, admin_port=admin_port, weights_root=str(root), log_format="off", drain_timeout_s=2
        )

        def tell(port: int) -> None:
            ready.append(port)
            started.set()

        task = asyncio.create_task(serve(build_scorer(settings), settings, on_ready=tell))
        await asyncio.to_thread(stop.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(120)
    yield Served(f"http://127.0.0.1:{ready[0]}", f"http://127.0.0.1:{admin_port}", root)
    stop.set()
    thread.join()
