"""Writes down each batch as the actor is about to train on it, from inside the trainer's process."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FIELDS = ("prompts", "responses", "response_mask", "rm_scores", "advantages")
_numbers = itertools.count()


def _write(uids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """One file per batch: rows as arrays of their own length."""
    rows: dict[str, Any] = {
        f"{name}/{row}": np.asarray(values) for name, column in columns.items() for row, values in enumerate(column)
    }
    path = Path(os.environ["MRT_TEST_DUMP"]) / f"batch_{next(_numbers)}.npz"
    np.savez(path, uids=np.array([str(uid) for uid in uids]), **rows)


def _v1(module: Any) -> None:
    original = module.PPOTrainer._update_actor

    @functools.wraps(original)
    def update_actor(self: Any, batch: Any, metrics: Any) -> Any:
        data = module.tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["uid", *FIELDS])
        columns = {name: [each.float().numpy() for each in data[name].unbind()] for name in FIELDS}
        _write(list(batch.keys), columns)
        return original(self, batch, metrics)

    module.PPOTrainer._update_actor = update_actor


def _v0(module: Any) -> None:
    original = module.RayPPOTrainer._update_actor

    @functools.wraps(original)
    def update_actor(self: Any, batch: Any) -> Any:
        mask = batch.batch["attention_mask"].bool()
        width = batch.batch["responses"].shape[1]
        columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
        for row in range(len(mask)):
            for name in FIELDS:
                kept = mask[row, :-width] if name == "prompts" else mask[row, -width:]
                columns[name].append(batch.batch[name][row][kept].float().numpy())
        _write(list(batch.non_tensor_batch["uid"]), columns)
        return original(self, batch)

    module.RayPPOTrainer._update_actor = update_actor


_PATCHES: dict[str, Callable[[Any], None]] = {
    "verl.trainer.ppo.v1.trainer_base": _v1,
    "verl.trainer.ppo.ray_trainer": _v0,
}


class _Watcher(importlib.abc.MetaPathFinder):
    """Patches a trainer's module when a process imports it, and costs the others nothing."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        patch = _PATCHES.pop(fullname, None)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.loader is not None
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            patch(module)

        loader.exec_module = exec_module
        return spec


def watch_imports() -> None:
    sys.meta_path.insert(0, _Watcher())
