"""What worker processes inherit: they read hostile text, so no secrets that they have no use for."""

from __future__ import annotations

import re
from collections.abc import Mapping

_OUR_KEYS = re.compile(r"^MRT_REWARD_\w*KEYS?$")
_SECRETS = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def worker_environment(environment: Mapping[str, str], grader: str) -> dict[str, str]:
    """The environment for workers of this grader: without our keys, and for our own grader without anybody's.

    A user's own grader may need the secrets of services that it asks.
    """
    hidden = _SECRETS if grader == "math" else _OUR_KEYS
    return {name: value for name, value in environment.items() if not hidden.search(name) and not _OUR_KEYS.match(name)}
