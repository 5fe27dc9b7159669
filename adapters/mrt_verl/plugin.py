"""What veRL loads in each of its processes: `reward.type=mrt` becomes the settings that veRL knows.

veRL asks `validate_config` about a configuration before anything is started, so that is where the switch is read. The
fully asynchronous main asks nobody, and would train without the rewards asked for: it is refused where it looks for its
device. Nothing else changes, and without the switch nothing changes at all.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

logger = logging.getLogger(__name__)


def register() -> None:
    """Make `validate_config` read the switch; twice is as good as once."""
    from verl.utils import config as verl_config  # noqa: PLC0415 - while veRL itself is being imported

    original: Callable[..., None] = verl_config.validate_config
    if getattr(original, "reads_mrt", False):
        return

    @functools.wraps(original)
    def validate_config(config: DictConfig, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - veRL's own
        from mrt_verl.expand import expand  # noqa: PLC0415 - heavy, and only needed with the switch on

        if expand(config) and "use_critic" in kwargs:
            from verl.trainer.ppo.utils import need_critic  # noqa: PLC0415

            # It was worked out for the estimator that was set before.
            kwargs["use_critic"] = need_critic(config)
        original(config, *args, **kwargs)

    validate_config.reads_mrt = True  # type: ignore[attr-defined]
    verl_config.validate_config = validate_config
    _refuse_where_nobody_validates()


def _refuse_where_nobody_validates() -> None:
    from verl.utils import device  # noqa: PLC0415

    original: Callable[[DictConfig], None] = device.auto_set_device

    @functools.wraps(original)
    def auto_set_device(config: DictConfig) -> None:
        if config and "async_training" in config:
            from mrt_verl.expand import refuse_fully_asynchronous  # noqa: PLC0415

            refuse_fully_asynchronous(config)
        original(config)

    device.auto_set_device = auto_set_device


try:
    register()
except (ImportError, AttributeError):  # a veRL without what is wrapped here
    # veRL swallows what goes wrong here, and the user would train without the rewards they asked for.
    logger.exception("mrt_verl could not be loaded: reward.type=mrt will not work")
    raise
