"""What a person wants to know of a running server at one look: how busy it is, what it gave, what went wrong last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mrt_reward.service.queue import ProofQueue
from mrt_reward.types import Status
from mrt_reward.wire import OverviewOut, ProgressBin, RecentError

MOST_ERRORS = 20
_STRANGERS = frozenset({401, 403, 404})
"""Answered to whoever knocks: they would push out what happened to callers."""
EDGES = (-0.5, -0.2, -0.1, -0.02, 0.02, 0.1, 0.2, 0.5)
"""Of progress, between bins."""


@dataclass(slots=True)
class _Error:
    """Equal errors in a row are one."""

    where: str
    code: str
    at_s: float
    count: int = 1


class Overview:
    """Counts since the start. Nothing that a caller wrote is kept.

    Args:
        queue: whose figures are reported.

    """

    def __init__(self, queue: ProofQueue) -> None:
        self._queue = queue
        self._traces = {status.value: 0 for status in Status}
        self._episodes = [0] * (len(EDGES) + 1)
        self._errors: deque[_Error] = deque(maxlen=MOST_ERRORS)

    def count_request(self, route: str, code: int) -> None:
        """Count one answer; those of 400 and more are errors, but for strangers'."""
        if code >= 400 and code not in _STRANGERS:
            self._note(route, str(code))

    def count_trace(self, status: Status, progress: Sequence[float], code: str | None) -> None:
        """Count one trace, its progress, and why it was not scored, as a code."""
        self._traces[status.value] += 1
        for each in progress:
            self._episodes[sum(each > edge for edge in EDGES)] += 1
        if code is not None:
            self._note("trace", code)

    def _note(self, where: str, code: str) -> None:
        last = self._errors[-1] if self._errors else None
        if last is not None and (last.where, last.code) == (where, code):
            last.at_s, last.count = time.monotonic(), last.count + 1
        else:
            self._errors.append(_Error(where, code, time.monotonic()))

    def report(self) -> OverviewOut:
        """As it is now; the last error first."""
        now, edges = time.monotonic(), (None, *EDGES, None)
        return OverviewOut(
            queued_tokens=self._queue.queued_tokens,
            queue_limit_tokens=self._queue.max_queue_tokens,
            running=self._queue.num_running,
            waiting=self._queue.num_waiting,
            traces=dict(self._traces),
            progress=[
                ProgressBin(low=low, high=high, episodes=count)
                for (low, high), count in zip(pairwise(edges), self._episodes, strict=True)
            ],
            errors=[
                RecentError(where=each.where, code=each.code, count=each.count, seconds_ago=now - each.at_s)
                for each in reversed(self._errors)
            ],
        )
