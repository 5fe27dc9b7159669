"""A CPU in place of each GPU that OpenRLHF asks for; nothing of the adapter is touched.

What is replaced here is not tested here: `torch.cuda`, NCCL's broadcast of weights, the
device of a mesh, and DeepSpeed's own C++.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from mrt_openrlhf.importing import after_import


def install() -> None:
    after_import("torch.cuda", _cuda)
    after_import("torch.distributed.device_mesh", _mesh)
    after_import("openrlhf.utils.distributed_util", _broadcast)
    after_import("openrlhf.trainer.ray.vllm_worker_wrap", _worker)
    after_import("vllm.model_executor.layers.utils", _linear)
    after_import("deepspeed.git_version_info", _nothing_to_compile)
    after_import("deepspeed.ops.adam", _adam)
    if os.environ.get("RAY_ADDRESS") == "local":
        after_import("ray", _ray)
    if os.environ.get("MRT_TEST_DUMP"):
        after_import("openrlhf.trainer.ppo_utils.experience_maker", _dump)


class _Device(str):
    """`cpu`, and 0 where it is written into a name such as cuda:0."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return "0"


def _cuda(module: Any) -> None:
    # torch's compiler wants a function of its own behind each name.
    module.current_device = lambda: _Device("cpu")
    module.set_device = lambda *_: None
    module.synchronize = lambda *_: None
    module.empty_cache = lambda: None
    module.current_stream = lambda *_: None


def _nothing_to_compile(module: Any) -> None:
    # Of one rank, nothing is shared; its C++ would take minutes.
    module.compatible_ops["deepspeed_shm_comm"] = False


def _adam(module: Any) -> None:
    from torch.optim import AdamW  # noqa: PLC0415 - DeepSpeed has it already

    class FusedAdam(AdamW):
        def __init__(self, parameters: Any, adam_w_mode: bool = True, **settings: Any) -> None:
            super().__init__(parameters, **settings)

    # The same step in C++ would take minutes to compile.
    module.FusedAdam = FusedAdam


def _mesh(module: Any) -> None:
    original = module.init_device_mesh

    @functools.wraps(original)
    def init_device_mesh(device: str, *args: Any, **kwargs: Any) -> Any:
        return original("cpu" if device == "cuda" else device, *args, **kwargs)

    module.init_device_mesh = init_device_mesh


class _Store:
    """Weights through vLLM's own store instead of NCCL."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def broadcast(self, tensor: Any, src: int, stream: Any = None) -> None:
        tensor.copy_(self._group.broadcast(tensor.clone(), src))


def _broadcast(module: Any) -> None:
    def stateless_init_process_group(host: str, port: int, rank: int, world_size: int, device: Any) -> _Store:
        from vllm.distributed.utils import StatelessProcessGroup  # noqa: PLC0415 - in the processes that use it

        return _Store(StatelessProcessGroup.create(host=host, port=port, rank=rank, world_size=world_size))

    module.stateless_init_process_group = stateless_init_process_group


def _worker(module: Any) -> None:
    import torch  # noqa: PLC0415 - vLLM's worker has it already

    def update_weight(self: Any, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:
        weight = torch.empty(shape, dtype=dtype)
        self._model_update_group.broadcast(weight, src=0)
        self.model_runner.model.load_weights(weights=[(name, weight)])
        if folder := os.environ.get("MRT_TEST_DUMP"):
            with (Path(folder) / "synced.jsonl").open("a") as file:
                file.write(json.dumps({"name": name, "sum": float(weight.double().sum())}) + "\n")

    module.WorkerWrap.update_weight = update_weight


def _linear(module: Any) -> None:
    import torch  # noqa: PLC0415 - vLLM's worker has it already

    def keep_weights(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    # Packed weights could not be loaded a second time.
    module.dispatch_cpu_unquantized_gemm = keep_weights


def _ray(module: Any) -> None:
    original = module.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        local = {"num_cpus": 8, "num_gpus": 4, "include_dashboard": False, "object_store_memory": 200_000_000}
        return original(*args, **kwargs, **local)

    module.init = init


def _dump(module: Any) -> None:
    """Write each batch down as the trainer is about to train on it."""
    import numpy as np  # noqa: PLC0415 - only where it is asked for

    original = module.RemoteExperienceMaker.make_experience_batch
    fields = ("sequences", "attention_mask", "action_mask", "advantages", "returns", "rewards")

    @functools.wraps(original)
    def make_experience_batch(self: Any, samples: list[Any]) -> Any:
        experiences = original(self, samples)
        saved: dict[str, Any] = {}
        for index, each in enumerate(experiences):
            saved |= {f"{name}/{index}": getattr(each, name).float().numpy() for name in fields}
            saved[f"index/{index}"] = np.array(each.index)
        folder = Path(os.environ["MRT_TEST_DUMP"])
        np.savez(folder / f"batch_{len(list(folder.glob('batch_*.npz')))}.npz", **saved)
        return experiences

    module.RemoteExperienceMaker.make_experience_batch = make_experience_batch
