"""What joins a step's log: what was noted of its batches, and what the workers kept."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import pytest
from mrt_verl import tracking
from omegaconf import OmegaConf
from ray.exceptions import RayError

from mrt_reward.training.records import Lapse, Record


class Worker:
    """A Ray actor's handle, as far as it is used."""

    class mrt_records:  # noqa: N801 - a method of the actor
        @staticmethod
        def remote() -> list[Record]:
            return [Record(Lapse.TIMEOUT, "late", latency_s=2.0), Record(Lapse.NO_THINKING, latency_s=1.0)]


class Manager:
    config = OmegaConf.create({"reward": {"type": "mrt"}})
    agent_loop_workers = (Worker(), Worker())


class Log:
    """veRL's logger, as far as it is used."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, Any], int]] = []

    def log(self, data: dict[str, Any], step: int) -> None:
        self.logged.append((data, step))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    class Tracking(Log):
        pass

    monkeypatch.setattr(tracking, "Tracking", Tracking)
    tracking.taken()
    yield
    tracking.taken()
    tracking._managers.clear()


def test_batches_of_a_step_are_summed_where_they_are_counts_and_averaged_elsewhere() -> None:
    tracking.note({"mrt/failed/timeout": 1.0, "mrt/failed/share": 0.5, "mrt/progress/mean": 0.1})
    tracking.note({"mrt/failed/timeout": 2.0, "mrt/failed/share": 0.1, "mrt/progress/mean": 0.3})
    assert tracking.taken() == pytest.approx(
        {"mrt/failed/timeout": 3.0, "mrt/failed/share": 0.3, "mrt/progress/mean": 0.2}
    )
    assert tracking.taken() == {}


def test_a_training_step_is_logged_with_its_metrics_and_a_validation_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.ray, "get", lambda kept, timeout: kept)
    tracking.follow_manager(Manager())
    tracking.follow_manager(Manager())
    log: Log = cast("Any", tracking).Tracking()
    tracking.note({"mrt/progress/mean": 0.25})
    log.log({"val/acc": 1.0}, 1)
    log.log({tracking.STEP: 1, "actor/loss": 0.5}, 1)
    (validation, _), (training, step) = log.logged
    assert validation == {"val/acc": 1.0}
    assert step == 1
    assert training["mrt/progress/mean"] == 0.25
    assert training["actor/loss"] == 0.5
    assert training["mrt/prover/latency_s/mean"] == pytest.approx(1.5)


def test_a_lost_worker_costs_its_records_and_not_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(kept: object, timeout: float) -> object:
        raise RayError("gone")

    monkeypatch.setattr(tracking.ray, "get", lost)
    tracking.follow_manager(Manager())
    log: Log = cast("Any", tracking).Tracking()
    log.log({tracking.STEP: 2}, 2)
    assert log.logged[0][0][tracking.STEP] == 2


def test_without_a_manager_nothing_is_asked() -> None:
    assert tracking._asked(1) == {}
