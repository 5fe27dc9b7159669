"""How long to wait before asking a server again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to ask, and how long to wait in between.

    Attributes:
        max_tries: in all.
        base_s: scale of the waits; they double, with full jitter, and a longer `Retry-After` wins.
        max_wait_s: longest wait.

    """

    max_tries: int = 5
    base_s: float = 0.25
    max_wait_s: float = 20.0

    def wait_s(self, num_tries: int, least_s: float) -> float:
        """Seconds to wait after this many tries, of which the server said at least `least_s`."""
        return wait_s(num_tries, least_s, self.base_s, self.max_wait_s)


def wait_s(num_tries: int, least_s: float, base_s: float, max_wait_s: float) -> float:
    """Seconds to wait; see `Backoff`."""
    # Bounded, because a float has no room for 2 to the power of a thousand tries.
    jittered = random.uniform(0, min(max_wait_s, base_s * 2.0 ** min(num_tries, 64)))  # noqa: S311 - no secret
    return min(max_wait_s, max(jittered, least_s))


def spread_s(least_s: float, max_wait_s: float) -> float:
    """Seconds more, at random, so that callers who were refused together do not come back together."""
    return random.uniform(0, min(least_s, max_wait_s))  # noqa: S311 - no secret


def retry_after_s(retry_after: str | None) -> float:
    """Seconds of a `Retry-After` header; 0 where there is none, or a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
