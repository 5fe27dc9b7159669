"""What a run was started with, on its way from the driver to every process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mrt_reward.errors import ConfigError
from mrt_reward.training.settings import TrainingSettings, load_training_settings

WHERE = "--mrt"
AGENT = Path(__file__).with_name("agent.py")
"""The file that OpenRLHF's rollout workers load."""

VARIABLE = "MRT_OPENRLHF_SETUP"


@dataclass(frozen=True)
class Setup:
    """What the user said.

    Attributes:
        given: settings, as they were given.
        rewards: of `--reward.remote_url`.
        agent: of `--train.agent_func_path`.
        max_response_tokens: longest response that is allowed.

    """

    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rewards: tuple[str, ...] = ()
    agent: str | None = None
    max_response_tokens: int = 0

    @cached_property
    def settings(self) -> TrainingSettings:
        """Checked settings.

        Raises:
            ConfigError: one is wrong.

        """
        return load_training_settings(self.given, where=WHERE)

    def to_environment(self) -> dict[str, str]:
        """As a variable that every process of the run gets."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Setup:
        """Of the run that this process belongs to.

        Raises:
            ConfigError: it belongs to none.

        """
        text = os.environ.get(VARIABLE)
        if text is None:
            raise ConfigError(
                f"{VARIABLE} is not set in this process: start the run with `python -m mrt_openrlhf`, which tells it "
                "to Ray's workers, instead of openrlhf.cli.train_ppo_ray"
            )
        fields: dict[str, Any] = json.loads(text)
        fields["rewards"] = tuple(fields["rewards"])
        return cls(**fields)
