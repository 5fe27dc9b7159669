"""Variables of this process and of the cluster that it starts; Ray reads some of them when it is imported."""

from __future__ import annotations

import os
import secrets

from tests.deploy.kit import DEPLOY, ROOT

KEY = "key-of-this-suite"

ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(DEPLOY / "ray_serve"), str(ROOT)]),
    "MRT_REWARD_API_KEY": KEY,
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # Workers are 15 nicer than Ray itself, and do not get on where the machine is busy.
    "RAY_worker_niceness": "0",
    # Ten seconds, where nobody says otherwise.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
