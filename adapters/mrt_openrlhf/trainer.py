"""What else is extended in OpenRLHF's trainer: evaluation, the step's log, saved weights, the order of prefixes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mrt_openrlhf.advantages import METRICS
from mrt_openrlhf.labels import EvaluationLabel, TrainingLabel, for_evaluation
from mrt_openrlhf.setup import Setup
from mrt_openrlhf.vouching import canary
from mrt_reward.training.following import hand_over

_ROUND = "mrt_round"
"""Attribute of a generator of samples that counts its rounds; a run that is resumed counts from 0 again."""

_FOLLOWING = "mrt_following"
"""Attribute of a trainer that holds what following did after the last step, for the log of the next."""


def extend_samples_generator(module: Any) -> None:  # noqa: ANN401 - of OpenRLHF
    """Make labels say what their samples are for, and those of training in which round they were made."""
    generator = module.SamplesGenerator
    evaluate, generate, dispatch = (
        generator.generate_eval_samples,
        generator.generate_samples,
        generator._dispatch_prompts_to_vllm,  # noqa: SLF001
    )

    @functools.wraps(evaluate)
    def generate_eval_samples(self: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401 - OpenRLHF's own
        self._eval_dataloader_iter = for_evaluation(iter(self.eval_dataloader))
        return evaluate(self, **kwargs)

    @functools.wraps(generate)
    def generate_samples(self: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - OpenRLHF's own
        setattr(self, _ROUND, getattr(self, _ROUND, -1) + 1)
        return generate(self, **kwargs)

    @functools.wraps(dispatch)
    def dispatch_prompts(self: Any, prompts: list[str], labels: list[Any], **kwargs: Any) -> Any:  # noqa: ANN401
        marked = [
            label if isinstance(label, EvaluationLabel) else TrainingLabel(label, getattr(self, _ROUND))
            for label in labels
        ]
        return dispatch(self, prompts, marked, **kwargs)

    generator.generate_eval_samples = generate_eval_samples
    generator.generate_samples = generate_samples
    generator._dispatch_prompts_to_vllm = dispatch_prompts  # noqa: SLF001


def extend_datasets(module: Any) -> None:  # noqa: ANN401 - of OpenRLHF
    """Make rows of prefixes keep their order."""
    prepare = module.prepare_datasets

    @functools.wraps(prepare)
    def prepare_datasets(strategy: Any, tokenizer: Any) -> Any:  # noqa: ANN401 - OpenRLHF's own
        in_order = Setup.from_environment().settings.mode == "prefix"
        return prepare(_InOrder(strategy) if in_order else strategy, tokenizer)

    module.prepare_datasets = prepare_datasets


def extend_trainer(actor: Any) -> None:  # noqa: ANN401 - Ray's, of one of OpenRLHF's trainers
    """Make a step's log have `mrt/…`, and saved weights reach the prover.

    Ray copied the methods of the trainer's base into the class that it sends to the trainer's process, so that this is
    the class to change, in the process that starts the trainer.
    """
    trainer = actor.__ray_metadata__.modified_class
    stats, save = trainer._compute_rollout_stats, trainer.save_logs_and_checkpoints  # noqa: SLF001

    @functools.wraps(stats)
    def compute_rollout_stats(self: Any, experiences: list[Any]) -> dict[str, Any]:  # noqa: ANN401
        return {**stats(self, experiences), **getattr(self.experience_maker, METRICS), **getattr(self, _FOLLOWING, {})}

    @functools.wraps(save)
    def save_logs_and_checkpoints(self: Any, global_step: int, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        settings, folder = Setup.from_environment().settings, Path(self.args.ckpt.path).absolute()
        setattr(self, _FOLLOWING, {})
        if not settings.follows_at(global_step):
            save(self, global_step, *args, **kwargs)
            return

        def work(_: Path) -> None:
            save(self, global_step, *args, **kwargs)

        vouch = functools.partial(canary, self)
        done = hand_over(folder / f"global_step{global_step}_hf", settings, global_step, save=work, canary=vouch)
        setattr(self, _FOLLOWING, done)

    trainer._compute_rollout_stats = compute_rollout_stats  # noqa: SLF001
    trainer.save_logs_and_checkpoints = save_logs_and_checkpoints


class _InOrder:
    """OpenRLHF's strategy, whose data loaders do not shuffle: rows of a group are trained together."""

    def __init__(self, strategy: Any) -> None:  # noqa: ANN401 - OpenRLHF's
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        return getattr(self._strategy, name)

    def setup_dataloader(self, data: Any, size: int, pin: bool, shuffle: bool, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._strategy.setup_dataloader(data, size, pin, False, *args, **kwargs)
