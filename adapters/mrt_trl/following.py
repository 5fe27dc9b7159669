"""A prover that follows the policy: each checkpoint that is due is handed to the servers' admin ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mrt_reward.training.following import hand_over
from mrt_reward.training.settings import TrainingSettings


class Following(TrainerCallback):
    """Hands over what the trainer has just saved.

    Args:
        settings: for `follow_steps` and the admin ports.
        note: takes metrics for the trainer's log.

    """

    def __init__(self, settings: TrainingSettings, note: Callable[[Mapping[str, float]], None]) -> None:
        self._settings = settings
        self._note = note

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        """On the main process alone; the others wait for it at the next step."""
        if state.is_world_process_zero and args.output_dir is not None:
            folder = Path(args.output_dir).absolute() / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._note(hand_over(folder, self._settings, state.global_step))
