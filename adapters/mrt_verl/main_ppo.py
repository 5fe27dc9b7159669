"""`python -m mrt_verl.main_ppo`: veRL's own main, for installations where its plug-ins are off, and versions without.

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

    from mrt_verl.expand import expand, reads_switch_itself  # noqa: PLC0415 - heavy, and not needed for --help

    if reads_switch_itself():
        main_ppo.main.__wrapped__(config)
        return
    from verl.experimental.reward_loop import migrate_legacy_reward_impl  # noqa: PLC0415
    from verl.utils.device import auto_set_device  # noqa: PLC0415

    # Older versions validate in a worker, which is too late: so this is what their main does, with the switch between.
    auto_set_device(config)
    config = migrate_legacy_reward_impl(config)
    expand(config)
    main_ppo.run_ppo(config)  # type: ignore[call-arg] - of these versions


if __name__ == "__main__":
    main()
