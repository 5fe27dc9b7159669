"""`python -m mrt_verl.main_ppo`: veRL's own main, for installations where its plug-ins are off.

Takes the arguments of `verl.trainer.main_ppo`.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from mrt_verl import plugin


@hydra.main(config_path="pkg://verl.trainer.config", config_name="ppo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Read the switch, and go on as veRL does."""
    plugin.register()
    from verl.trainer import main_ppo  # noqa: PLC0415 - after the switch can be read

    main_ppo.main.__wrapped__(config)


if __name__ == "__main__":
    main()
