"""How many requests are in flight, and whether more are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from mrt_reward.errors import Draining


class Activity:
    """Counts work in flight; a drain refuses more, and can be taken back unless it is for good.

    Attributes:
        draining: whether new work is refused.

    """

    def __init__(self) -> None:
        self.draining = False
        self._for_good = False
        self._num_active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def refuse_if_draining(self) -> None:
        """Raise where no new work is taken.

        Raises:
            Draining: a drain has begun.

        """
        if self.draining:
            raise Draining("the server is shutting down: use another replica", retry_after_s=5.0)

    @contextmanager
    def one_more(self) -> Generator[None]:
        """Count one piece of work; raises as `refuse_if_draining` does."""
        self.refuse_if_draining()
        self._num_active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_active -= 1
            if self._num_active == 0:
                self._idle.set()

    def end(self) -> None:
        """Refuse new work for good."""
        self.draining = self._for_good = True

    async def drain(self) -> None:
        """Refuse new work and wait for what is in flight."""
        self.draining = True
        await self._idle.wait()

    def resume(self) -> None:
        """Take new work again.

        Raises:
            Draining: the drain is for good.

        """
        if self._for_good:
            self.refuse_if_draining()
        self.draining = False
