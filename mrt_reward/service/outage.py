"""What fails is left out for a while, and asked again with growing waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

logger = structlog.stdlib.get_logger(__name__)

Result = TypeVar("Result")

FIRST_AWAY_S = 1.0
LONGEST_AWAY_S = 60.0


class Outage:
    """Leaves out what failed: at first for a second, then twice as long each time; reported once each time.

    Args:
        what: is done, `read` or `write`.
        where: the store, as the log may name it.
        first_s: how long it is left out after a first fault.

    """

    def __init__(self, what: str, where: str, first_s: float) -> None:
        self._what = what
        self._where = where
        self._first_s = first_s
        self._num_in_a_row = 0
        self._until = 0.0
        self.num_failures = 0

    @property
    def seconds_left(self) -> float:
        """Until it is tried again."""
        return max(0.0, self._until - time.monotonic())

    def attempt(self, work: Callable[[], Result]) -> Result | Exception:
        """What `work` gives; where it fails, why, and it is left out from now on."""
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and costs nobody a score
            self.failed(error)
            return error
        self.worked()
        return result

    def failed(self, error: BaseException) -> None:
        """Leave it out from now on."""
        self.num_failures += 1
        if self.seconds_left:
            return  # Others began before it was left out, and failed for the same reason.
        away_s = min(LONGEST_AWAY_S, self._first_s * 2**self._num_in_a_row)
        self._num_in_a_row = min(self._num_in_a_row + 1, 30)
        self._until = time.monotonic() + away_s
        message = f"{type(error).__name__}: {error}"
        logger.warning("cache_store_failed", what=self._what, where=self._where, cause=message, away_s=away_s)

    def worked(self) -> None:
        """Use it as before."""
        if self._num_in_a_row:
            logger.info("cache_store_works_again", what=self._what, where=self._where)
        self._num_in_a_row = 0
        self._until = 0.0
