"""A prover that follows the policy: the trainer's saved weights, handed to the servers' admin ports."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mrt_reward.client.admin import load_weights
from mrt_reward.errors import UNFINISHED, ConfigError, MRTRewardError
from mrt_reward.files import WEIGHTS_MARKER
from mrt_reward.protocols import WeightsCanary
from mrt_reward.training.published import delete_old, publish
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.wire import WeightsRequest

logger = logging.getLogger(__name__)
TRIAL = "mrt_trial"
"""Empty folder that servers are asked to load at the start, and must refuse as unfinished."""


def check_shared(folder: Path, settings: TrainingSettings, where: str) -> None:
    """See that every server may load what the trainer will save, by an empty folder that it refuses as unfinished.

    One process of a run asks; where `follow_steps` is not set, nobody is asked.

    Args:
        folder: where the trainer will save.
        settings: for `follow_steps` and the admin ports.
        where: path of these settings in the framework's configuration, for messages.

    Raises:
        ConfigError: one may not, sees another file system, or does not answer.

    """
    if settings.follow_steps is None:
        return
    trial = folder / TRIAL
    trial.mkdir(parents=True, exist_ok=True)
    try:
        for url in settings.admin_urls:
            _check_server(url, trial, settings.admin_key, where)
    finally:
        trial.rmdir()


def _check_server(url: str, trial: Path, key: str | None, where: str) -> None:
    try:
        load_weights(url, str(trial), key=key, timeout_s=30.0)
    except MRTRewardError as error:
        if error.code == UNFINISHED:
            return
        raise ConfigError(
            f"{where}.follow_steps: {url} would not load what is saved in {trial.parent}: {error}. Start it with "
            f"--weights-root {trial.parent} (or a folder above), where it sees the trainer's files, and set "
            f"{where}.admin_url to its admin port",
            param=f"{where}.follow_steps",
        ) from error


def hand_over(
    folder: Path,
    settings: TrainingSettings,
    step: int,
    *,
    save: Callable[[Path], None] | None = None,
    canary: Callable[[], WeightsCanary | None] = lambda: None,
) -> dict[str, float]:
    """Make every server prove with the weights of this step; what was done, for the log.

    A server that refuses keeps its old weights, which is logged and counted, and training goes on. Folders that were
    saved here are deleted after `keep_last`, once every server has taken newer ones.

    Args:
        folder: where the policy's weights of this step are, in Hugging Face format.
        settings: for `follow_steps` and the admin ports.
        step: of the trainer.
        save: puts them there, where the trainer has not done so by itself; called where they are due.
        canary: says how probable an answer is by these weights, for the servers to compare, if it can be said; called
            where they are due and there.

    """
    if not settings.follows_at(step):
        return {}
    if save is not None:
        publish(folder, save)
    metrics = {"mrt/following/step": float(step), "mrt/following/refused": float(len(settings.admin_urls))}
    if not folder.is_dir():
        logger.error("mrt: expected the weights of step %d in %s, and nothing is there", step, folder)
        return metrics
    (folder / WEIGHTS_MARKER).touch()
    weights = WeightsRequest(path=str(folder), canary=canary())
    refused = sum(not _taken(url, weights, settings.admin_key, step) for url in settings.admin_urls)
    if save is not None and settings.keep_last is not None and not refused:
        delete_old(folder, settings.keep_last)
    vouched = float(weights.canary is not None)
    return {**metrics, "mrt/following/refused": float(refused), "mrt/following/vouched": vouched}


def _taken(url: str, weights: WeightsRequest, key: str | None, step: int) -> bool:
    try:
        version = load_weights(url, weights, key=key)
    except MRTRewardError as error:
        logger.error("mrt: %s keeps its old weights at step %d: %s", url, step, error)
        return False
    logger.warning("mrt: %s proves with the weights of step %d, version %s", url, step, version)
    return True
