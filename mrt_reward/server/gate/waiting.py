"""How long work is waited for: to its end, unless its time is over, its caller has left or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from mrt_reward.errors import Draining

Result = TypeVar("Result")


class CallerGone(Exception):
    """The caller hung up."""


class Stopping:
    """Whether the server still waits for anything: shared by all requests of an application."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def now(self) -> None:
        """Wait for nothing from now on."""
        self._event.set()

    @property
    def begun(self) -> bool:
        """Whether that was said."""
        return self._event.is_set()

    @property
    def error(self) -> Draining:
        """The error for a caller whose work is given up."""
        return Draining("the server stops and gives this request up: send it to another, or again", retry_after_s=5.0)

    async def begins(self) -> None:
        """Return once nothing is waited for any longer."""
        await self._event.wait()

    async def unless(self, work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
        """Run `work` to its end; cancelled when the time is over, or when nothing is waited for any longer.

        Raises:
            TimeoutError: the time is over.
            Draining: the server stops.

        """
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.begins())
        try:
            await asyncio.wait({task, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise self.error if stopped.done() else TimeoutError
        finally:
            await ended(task, stopped)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, and wait until it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
