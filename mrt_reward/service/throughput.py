"""How fast the engine answers, measured while it has work."""

from __future__ import annotations

import time
from collections.abc import Callable

HALF_LIFE_S = 30.0
"""Of working time, after which a measurement counts half."""

UNKNOWN_S = 2.0
"""Wait for a queue whose speed is not known yet."""

SHORTEST_S = 1.0
LONGEST_S = 60.0


class Throughput:
    """Tokens answered for each second in which at least one batch is in the engine.

    Args:
        clock: seconds, never going back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_running = 0
        self._since = 0.0
        self._tokens = 0.0
        self._seconds = 0.0

    def begin(self) -> None:
        """Count a batch that goes into the engine."""
        self._pass_time()
        self._num_running += 1

    def end(self, num_tokens: int) -> None:
        """Count a batch that left it, with this many tokens answered."""
        self._pass_time()
        self._num_running -= 1
        self._tokens += num_tokens

    def wait_s(self, queued_tokens: int) -> float:
        """About when a queue of this many tokens will be through, in seconds, within bounds."""
        if not self._tokens or not self._seconds:
            return UNKNOWN_S
        return min(LONGEST_S, max(SHORTEST_S, queued_tokens * self._seconds / self._tokens))

    def _pass_time(self) -> None:
        now = self._clock()
        if self._num_running:
            passed_s = now - self._since
            fading = 0.5 ** (passed_s / HALF_LIFE_S)
            self._tokens *= fading
            self._seconds = self._seconds * fading + passed_s
        self._since = now
