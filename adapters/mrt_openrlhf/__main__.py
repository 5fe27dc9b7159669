"""`python -m mrt_openrlhf <the flags of openrlhf.cli.train_ppo_ray> [--mrt.NAME VALUE …]`."""

from __future__ import annotations

import sys

from mrt_openrlhf.launch import run
from mrt_reward.errors import ConfigError

if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}")
