"""A circuit breaker: an endpoint that keeps failing is left alone for a while, and then tried by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from mrt_reward.backoff import Backoff
from mrt_reward.errors import ProverError, ProverUnavailable

MAX_FAILURES = 5
"""In a row, before the endpoint is left alone."""


class Breaker:
    """Lets questions pass, or refuses them without asking.

    Closed, all pass. After `MAX_FAILURES` failures in a row it is open: none passes, for a wait that doubles at each
    opening, up to the backoff's longest. After the wait it is half open: one question passes, and its outcome closes
    the breaker or opens it again.

    Args:
        shown: what people read of the endpoint's address.
        backoff: how long it is left alone.
        clock: seconds, never going back.

    """

    def __init__(self, shown: str, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._backoff = backoff
        self._clock = clock
        self._num_failures = 0
        self._num_openings = 0
        self._opens_until = 0.0
        self._tried = False
        self._problem = ""

    @property
    def is_open(self) -> bool:
        """Whether questions are refused, but for the one that tries."""
        return self._num_failures >= MAX_FAILURES

    @contextmanager
    def passage(self) -> Generator[None]:
        """Ask within; a refusal is an answer, and whoever stops waiting says nothing of the endpoint.

        Raises:
            ProverUnavailable: the endpoint is left alone at present.

        """
        trial = self.is_open
        if trial:
            self._refuse_unless_due()
            self._tried = True
        try:
            yield
        except ProverUnavailable as error:
            self._failed(str(error))
            raise
        except ProverError:
            self._worked()
            raise
        else:
            self._worked()
        finally:
            if trial:
                self._tried = False

    def _refuse_unless_due(self) -> None:
        left_s = self._opens_until - self._clock()
        if left_s > 0 or self._tried:
            when = f"in {left_s:.1f} s" if left_s > 0 else "at this moment, by another question"
            raise ProverUnavailable(
                f"{self._shown} failed {self._num_failures} times in a row and is tried again {when}; the last time: "
                f"{self._problem}"
            )

    def _failed(self, problem: str) -> None:
        self._num_failures += 1
        self._problem = problem
        # Questions that were under way when it opened fail for the same reason.
        if self.is_open and self._clock() >= self._opens_until:
            self._num_openings += 1
            self._opens_until = self._clock() + self._backoff.wait_s(self._num_openings, 0.0)

    def _worked(self) -> None:
        self._num_failures = self._num_openings = 0
        self._opens_until = 0.0
