"""Loaded by every process through VERL_USE_EXTERNAL_MODULES: a platform on the CPU, which Ray takes for a GPU."""

from __future__ import annotations

import contextlib
import os
import types
from collections.abc import Generator
from typing import Any

import torch
import torch.distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry

# The training engine is registered for accelerators only, and uses nothing of them.
os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
torch.set_num_threads(1)


class _Module(types.ModuleType):
    """Stands for `torch.cuda`: what has no meaning here does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
            return lambda *_, **__: 0
        if name == "mem_get_info":
            return lambda *_, **__: (0, 0)
        if name == "get_device_name":
            return lambda *_, **__: "cpu"
        if name in ("get_rng_state", "set_rng_state"):
            return getattr(torch, name)
        return lambda *_, **__: None


_MODULE = _Module("cpu_device")


@PlatformRegistry.register(platform="cpu")
class CPUPlatform(PlatformBase):
    """One device, which is there."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        return _MODULE

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Generator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> Any:
        return None


def _once_per_device() -> None:
    """veRL names a backend for the CPU and one for its device, which here are the same."""
    original = torch.distributed.init_process_group

    def init_process_group(backend: str | None = None, **kwargs: Any) -> None:
        original("gloo" if backend and "gloo" in backend else backend, **kwargs)

    torch.distributed.init_process_group = init_process_group


def _offer_rollout() -> None:
    from verl.workers.rollout import base, replica  # noqa: PLC0415 - after the platform is known

    def load() -> Any:
        from tests.verl.cpu.rollout import CPUReplica  # noqa: PLC0415

        return CPUReplica

    base._ROLLOUT_REGISTRY["cpu", "async"] = "tests.verl.cpu.rollout.CPUAdapter"
    replica.RolloutReplicaRegistry.register("cpu", load)


_once_per_device()
_offer_rollout()
if os.environ.get("MRT_TEST_DUMP"):
    from tests.verl.cpu import dump

    dump.watch_imports()
