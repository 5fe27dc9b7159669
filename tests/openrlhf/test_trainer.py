"""What is extended of OpenRLHF's trainer, and how it comes about when a process imports it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mrt_openrlhf import importing, trainer, worker
from mrt_openrlhf.setup import Setup
from openrlhf.trainer import ppo_trainer, ppo_trainer_async
from ray import cloudpickle

from mrt_reward.training.vouching import WeightsCanary

FOLLOWED = {"mrt/following/step": 2.0, "mrt/following/refused": 0.0}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This process belongs to a run with these settings."""

    def setup(**given: Any) -> None:
        for name, value in Setup(given).to_environment().items():
            monkeypatch.setenv(name, value)

    return setup


def actor(**methods: Any) -> Any:
    """A trainer as Ray has it: the methods of its base are copied into a class of its own."""
    base = ppo_trainer.BasePPOTrainer
    names = ("_compute_rollout_stats", "save_logs_and_checkpoints")
    made = type("Copied", (), {name: methods.get(name, getattr(base, name)) for name in names})
    return SimpleNamespace(__ray_metadata__=SimpleNamespace(modified_class=made))


def experience() -> Any:
    ones = torch.ones(2)
    return SimpleNamespace(info={"reward": ones}, response_length=ones, truncated=ones)


def test_a_steps_log_has_openrlhfs_metrics_and_ours(
    started: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[Path, int, str, WeightsCanary | None]] = []
    canary = WeightsCanary((1, 2), (3, 4), -1.0)

    def hand_over(folder: Path, settings: Any, step: int, *, save: Any, canary: Any) -> dict[str, float]:
        asked.append((folder, step, save(folder), canary()))
        return FOLLOWED

    monkeypatch.setattr(trainer, "hand_over", hand_over)
    monkeypatch.setattr(trainer, "canary", lambda made: canary if made is ours_made else None)
    saved: list[int] = []

    def save(self: Any, global_step: int, *_: Any) -> None:
        saved.append(global_step)

    started(follow_steps=2)
    ours = actor(save_logs_and_checkpoints=save)
    trainer.extend_trainer(ours)
    made = ours_made = ours.__ray_metadata__.modified_class()
    made.experience_maker = SimpleNamespace(mrt_metrics={"mrt/progress/mean": 0.25})
    made.args = SimpleNamespace(
        logger=SimpleNamespace(logging_steps=1), ckpt=SimpleNamespace(save_steps=float("inf"), path=str(tmp_path))
    )
    made.wandb_logger = made.tensorboard_logger = None
    status = made._compute_rollout_stats([experience()])
    assert status["rollout/reward_mean"] == 1.0
    assert status["mrt/progress/mean"] == 0.25
    assert not set(FOLLOWED) & set(status)
    made.save_logs_and_checkpoints(2, status, {})
    assert asked == [(tmp_path / "global_step2_hf", 2, None, canary)]
    # What was done after a step is in the log of the next, and of no other.
    assert made._compute_rollout_stats([experience()]).items() >= FOLLOWED.items()
    made.save_logs_and_checkpoints(3, status, {})
    assert saved == [2, 3]
    assert len(asked) == 1
    assert not set(FOLLOWED) & set(made._compute_rollout_stats([experience()]))


@pytest.mark.parametrize(("mode", "shuffled"), [("episodes", True), ("prefix", False)])
def test_rows_of_prefixes_keep_their_order(mode: str, shuffled: bool, started: Any) -> None:
    seen: list[Any] = []

    class Strategy:
        args = "args"

        def setup_dataloader(self, data: Any, size: int, pin: bool, shuffle: bool, *rest: Any, **more: Any) -> str:
            seen.append((data, size, pin, shuffle, rest, more))
            return "loader"

    def prepare(strategy: Any, tokenizer: Any) -> Any:
        assert strategy.args == "args"
        return strategy.setup_dataloader("data", 1, True, True, "collate", num_workers=0)

    started(mode=mode)
    module = SimpleNamespace(prepare_datasets=prepare)
    trainer.extend_datasets(module)
    assert module.prepare_datasets(Strategy(), None) == "loader"
    assert seen == [("data", 1, True, shuffled, ("collate",), {"num_workers": 0})]


def test_modules_are_extended_when_they_are_imported_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mrt_late.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[int] = []

    def double(module: Any) -> None:
        module.value *= 2
        seen.append(module.value)

    importing.after_import("mrt_late", double)
    importing.after_import("mrt_late", double)
    importing.after_import("mrt_never", double)
    assert seen == []
    assert sys.modules.get("mrt_late") is None
    # Somebody asks whether it is there, which must not use the patch up.
    assert __import__("importlib.util").util.find_spec("mrt_late") is not None
    import mrt_late  # type: ignore[import-not-found]  # noqa: PLC0415 - written above

    assert mrt_late.value == 2
    assert seen == [2]
    importing.after_import("mrt_late", lambda module: seen.append(module.value + 40))
    assert seen == [2, 42]
    with pytest.raises(ModuleNotFoundError):
        __import__("mrt_never")


def test_a_worker_waits_for_the_modules_that_are_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: dict[str, Any] = {}
    monkeypatch.setattr(worker, "after_import", waited.__setitem__)
    worker.setup()
    assert sorted(waited) == [
        "openrlhf.trainer.ppo_trainer",
        "openrlhf.trainer.ppo_trainer_async",
        "openrlhf.trainer.ppo_utils.experience_maker",
        "openrlhf.trainer.ppo_utils.samples_generator",
    ]
    maker = type("RemoteExperienceMaker", (), {"compute_advantages_and_returns": lambda *_: None})
    names = ("generate_eval_samples", "generate_samples", "_dispatch_prompts_to_vllm")
    generator = type("SamplesGenerator", (), dict.fromkeys(names, lambda *_: None))
    sync, asynchronous = actor(), actor()
    module = SimpleNamespace(
        RemoteExperienceMaker=maker,
        SamplesGenerator=generator,
        PPOTrainer=sync,
        TrainingActor=asynchronous,
        prepare_datasets=ppo_trainer.prepare_datasets,
    )
    classes = [maker, generator, *(each.__ray_metadata__.modified_class for each in (sync, asynchronous))]
    before = [dict(vars(each)) for each in classes]
    for patch in waited.values():
        patch(module)
    assert all(dict(vars(each)) != was for each, was in zip(classes, before, strict=True))
    assert module.prepare_datasets is not ppo_trainer.prepare_datasets


def test_a_trainer_is_sent_to_its_process_as_it_was_extended() -> None:
    # Ray sends the class by value, with what was set on it.
    worker.setup()
    actors: list[Any] = [ppo_trainer.PPOTrainer, ppo_trainer_async.TrainingActor]
    for sent in actors:
        arrived = cloudpickle.loads(cloudpickle.dumps(sent.__ray_metadata__.modified_class))
        for name in ("_compute_rollout_stats", "save_logs_and_checkpoints"):
            method = getattr(arrived, name)
            assert method.__code__.co_filename == trainer.__file__
