"""A prover that follows the policy: the trainer's saved weights, handed to the servers' admin ports."""

from __future__ import annotations

import logging
from pathlib import Path

from mrt_reward.client.admin import load_weights
from mrt_reward.errors import MRTRewardError
from mrt_reward.training.settings import TrainingSettings

logger = logging.getLogger(__name__)
MARKER = ".complete"


def hand_over(folder: Path, settings: TrainingSettings, step: int) -> dict[str, float]:
    """Tell every server to prove with the weights of this step; what was done, for the log.

    A server that refuses keeps its old weights, which is logged and counted, and training goes on.

    Args:
        folder: where the trainer put the policy's weights of this step, in Hugging Face format.
        settings: for `follow_steps` and the admin ports.
        step: of the trainer.

    """
    if settings.follow_steps is None or step % settings.follow_steps:
        return {}
    taken = 0
    if folder.is_dir():
        (folder / MARKER).touch()
        for url in settings.admin_urls:
            try:
                version = load_weights(url, str(folder), key=settings.admin_key)
            except MRTRewardError as error:
                logger.error("mrt: %s keeps its old weights at step %d: %s", url, step, error)
                continue
            taken += 1
            logger.warning("mrt: %s proves with the weights of step %d, version %s", url, step, version)
    else:
        logger.error("mrt: expected the weights of step %d in %s, and nothing is there", step, folder)
    return {"mrt/following/step": float(step), "mrt/following/refused": float(len(settings.admin_urls) - taken)}
