"""What Ray runs first in every process of a run: OpenRLHF's trainer is extended where, and when, it is imported."""

from __future__ import annotations

from typing import Any

from mrt_openrlhf.importing import after_import

HOOK = "mrt_openrlhf.worker.setup"
"""As Ray's `worker_process_setup_hook`."""


def setup() -> None:
    """Watch for the modules that are extended; processes that import none of them pay nothing."""
    after_import("openrlhf.trainer.ppo_utils.experience_maker", _experience_maker)
    after_import("openrlhf.trainer.ppo_utils.samples_generator", _samples_generator)
    after_import("openrlhf.trainer.ppo_trainer", _trainer)
    after_import("openrlhf.trainer.ppo_trainer_async", _trainer_async)


def _experience_maker(module: Any) -> None:  # noqa: ANN401 - a module
    from mrt_openrlhf.advantages import extend_experience_maker  # noqa: PLC0415 - it brings torch

    extend_experience_maker(module)


def _samples_generator(module: Any) -> None:  # noqa: ANN401 - a module
    from mrt_openrlhf.trainer import extend_samples_generator  # noqa: PLC0415 - it brings torch

    extend_samples_generator(module)


def _trainer(module: Any) -> None:  # noqa: ANN401 - a module
    from mrt_openrlhf.trainer import extend_datasets, extend_trainer  # noqa: PLC0415 - it brings torch

    extend_datasets(module)
    extend_trainer(module.PPOTrainer)


def _trainer_async(module: Any) -> None:  # noqa: ANN401 - a module
    from mrt_openrlhf.trainer import extend_trainer  # noqa: PLC0415 - it brings torch

    extend_trainer(module.TrainingActor)
