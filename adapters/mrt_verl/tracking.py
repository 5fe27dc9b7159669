"""Metrics under `mrt/…` in whatever veRL logs to: they join the metrics of the training step that they belong to."""

from __future__ import annotations

import functools
import logging
from typing import Any

import ray
from ray.exceptions import RayError
from verl.utils.tracking import Tracking

from mrt_reward.training.metrics import merged, overhead_s, record_metrics
from mrt_reward.training.records import Record
from mrt_verl.expand import settings_of
from mrt_verl.following import hand_over

logger = logging.getLogger(__name__)

STEP = "training/global_step"
"""Key that a training step's metrics have, and a validation's have not."""

_noted: list[dict[str, float]] = []
_managers: list[Any] = []


def note(metrics: dict[str, float]) -> None:
    """Keep metrics of a batch for the step's log."""
    _noted.append(metrics)


def taken() -> dict[str, float]:
    """What was noted since the last call: counts are summed, the rest is averaged over the batches."""
    batches = list(_noted)
    _noted.clear()
    return merged(batches)


def follow_manager(manager: Any) -> None:  # noqa: ANN401 - one of two classes of veRL's
    """Ask this manager's workers for their records at every step, and hand weights over if that is asked for."""
    _managers[:] = [manager]
    original: Any = Tracking.log
    if getattr(original, "adds_mrt", False):
        return

    @functools.wraps(original)
    def log(self: Tracking, data: dict[str, Any], step: int, **kwargs: Any) -> None:  # noqa: ANN401 - veRL's own
        if STEP in data:
            data = {**data, **taken(), **_asked(step)}
        original(self, data, step, **kwargs)

    replacement: Any = log
    replacement.adds_mrt = True
    Tracking.log = replacement


def _asked(step: int) -> dict[str, float]:
    """Metrics that live with the workers, and of handing weights over."""
    if not _managers:
        return {}
    manager = _managers[0]
    try:
        kept: list[list[Record]] = ray.get(
            [worker.mrt_records.remote() for worker in manager.agent_loop_workers], timeout=30
        )
    except RayError as error:
        logger.warning("mrt: no records from the agent loop's workers: %s", error)
        kept = []
    records = [record for each in kept for record in each]
    metrics = record_metrics(records, overhead_s(records))
    return {**metrics, **hand_over(manager.config, settings_of(manager.config), step, manager.agent_loop_workers)}
