"""A prover that follows the policy: each checkpoint that is due is handed to the servers' admin ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mrt_reward.errors import ConfigError
from mrt_reward.in_process import policy_canary
from mrt_reward.training.following import check_shared, hand_over
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.training.vouching import WeightsCanary, unvouched
from mrt_trl.checks import WHERE


def check_following(trainer: Any, settings: TrainingSettings) -> None:  # noqa: ANN401 - a trainer of transformers
    """See that a checkpoint will hold the policy's whole weights, and that the servers may load it.

    Args:
        trainer: made, and not started.
        settings: for `follow_steps` and the admin ports.

    Raises:
        ConfigError: it will not, or they may not.

    """
    if settings.follow_steps is None:
        return
    if why := _not_whole(trainer):
        raise ConfigError(
            f"{WHERE}.follow_steps needs checkpoints with whole weights, and {why}", param=f"{WHERE}.follow_steps"
        )
    if trainer.is_world_process_zero():
        check_shared(Path(trainer.args.output_dir).absolute(), settings, WHERE)


def _not_whole(trainer: Any) -> str:  # noqa: ANN401 - a trainer of transformers
    """Why a checkpoint lacks weights, and what to change; empty where it has all."""
    if is_peft_model(trainer.accelerator.unwrap_model(trainer.model)):
        return (
            "those of a PEFT model hold its adapter alone, which is not handed over: train whole weights (no "
            f"peft_config), or leave {WHERE}.follow_steps out"
        )
    state = trainer.accelerator.state
    if trainer.is_fsdp_enabled and "FULL_STATE_DICT" not in str(state.fsdp_plugin.state_dict_type):
        return (
            f"those of FSDP with {state.fsdp_plugin.state_dict_type} hold shards: set fsdp_state_dict_type to "
            "FULL_STATE_DICT in accelerate's configuration"
        )
    if trainer.is_deepspeed_enabled:
        zero: dict[str, Any] = state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
            return (
                "those of DeepSpeed's ZeRO-3 hold shards: set stage3_gather_16bit_weights_on_model_save "
                "(zero3_save_16bit_model in accelerate's configuration) to true"
            )
    return ""


class Following(TrainerCallback):
    """Hands over what the trainer has just saved.

    Args:
        trainer: whose policy is saved.
        settings: for `follow_steps` and the admin ports.
        note: takes metrics for the trainer's log.

    """

    def __init__(
        self,
        trainer: Any,  # noqa: ANN401 - a trainer of transformers
        settings: TrainingSettings,
        note: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._note = note

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        """The main process hands over, and the others wait for it at the next step; each of them has the canary."""
        if args.output_dir is None or not self._settings.follows_at(state.global_step):
            return
        canary = self._canary()
        if state.is_world_process_zero:
            folder = Path(args.output_dir).absolute() / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._note(hand_over(folder, self._settings, state.global_step, canary=lambda: canary))

    def _canary(self) -> WeightsCanary | None:
        trainer = self._trainer
        mixed = trainer.accelerator.mixed_precision
        if mixed == "fp8":
            return unvouched("mixed_precision=fp8 changes what the trainer's forward says")
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        return policy_canary(trainer.model_wrapped, tokenizer, None if mixed == "no" else mixed)
