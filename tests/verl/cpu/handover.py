"""A checkpoint engine on a CPU: the trainer's weights reach replicas on other GPUs in a file.

Stands for veRL's own, which need NCCL, NIXL or Mooncake. Loaded by `checkpoint_engine.custom_backend_module`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import torch
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

BACKEND = "file"
WAIT_S = 300.0


class FileEngine(CheckpointEngine):
    """One end: the trainer's first process writes, every process of a replica reads."""

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self.is_master = is_master
        self.folder = Path()

    def prepare(self) -> dict[str, Any]:
        return {"folder": tempfile.mkdtemp(prefix="mrt_weights_") if self.is_master else None}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        folder = metadata[0]["folder"]
        return {"folder": [folder] * actor_wg_world_size}, {"folder": [folder] * rollout_world_size}

    def init_process_group(self, folder: str) -> None:
        self.folder = Path(folder)

    async def send_weights(
        self, weights: Generator[tuple[str, torch.Tensor], None, None], global_steps: int | None = None
    ) -> None:
        found = {name: tensor.detach().cpu() for name, tensor in weights}
        if self.is_master:
            torch.save(found, self.folder / "begun")
            (self.folder / "begun").rename(self.folder / "weights.pt")

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        until = time.monotonic() + WAIT_S
        while not (self.folder / "weights.pt").exists():
            assert time.monotonic() < until, "the trainer sent no weights"
            await asyncio.sleep(0.05)
        for name, tensor in torch.load(self.folder / "weights.pt").items():
            yield name, tensor

    def finalize(self) -> None:
        if self.is_master:
            (self.folder / "weights.pt").unlink()
            self.folder.rmdir()


# veRL declares `register` as a method without `self`.
registry: Any = CheckpointEngineRegistry
registry.register(BACKEND)(FileEngine)
