"""Finds out that an endpoint hangs while it is being asked, and gives up what it was asked, so that others answer it.

A question may take as long as it takes, behind many others. Only where none is answered for a while is the endpoint
asked whether it still writes, and what it says decides.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from mrt_reward.errors import ProverUnavailable
from mrt_reward.provers.openai.endpoint import Endpoint

SILENT_S = 4.0
"""An endpoint that answers no question for longer is asked whether it writes; with the time for that, one that hangs is
found within half a minute."""

LOOK_S = 0.25
"""How often it is looked at meanwhile whether a question was answered."""

logger = structlog.stdlib.get_logger(__name__)

_Answer = TypeVar("_Answer")


class Watch:
    """Watches one endpoint, while it is being asked.

    Args:
        endpoint: says when it last replied.
        writes: whether it still writes, as far as it says in good time.

    """

    def __init__(self, endpoint: Endpoint, writes: Callable[[], Awaitable[bool]]) -> None:
        self._endpoint = endpoint
        self._writes = writes
        self._asking: set[asyncio.Future[Any]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def kept(self, asking: Awaitable[_Answer]) -> _Answer:
        """The answer to a question; raises what asking raises.

        Raises:
            ProverUnavailable: the endpoint hangs, and the question was given up.

        """
        question = asyncio.ensure_future(asking)
        self._asking.add(question)
        if self._watching is None or self._watching.done():
            # It may outlive this question, and is no part of its request.
            watch, name = self._watch(), f"watch {self._endpoint.shown}"
            self._watching = contextvars.Context().run(asyncio.create_task, watch, name=name)
        try:
            await asyncio.wait({question})
        finally:
            ending = {question, *self._unwatched(question)}
            for each in ending:
                each.cancel()
            await asyncio.wait(ending)
        if question.cancelled():
            raise ProverUnavailable(
                f"{self._endpoint.shown} answered nothing that it was asked for {SILENT_S:g} s, and wrote no token then"
            )
        return question.result()

    def _unwatched(self, question: asyncio.Future[Any]) -> list[asyncio.Task[None]]:
        """The task that watches, where this was the last question."""
        self._asking.discard(question)
        if self._asking or self._watching is None:
            return []
        watching, self._watching = self._watching, None
        return [watching]

    async def _watch(self) -> None:
        """Until nothing is asked any more, or the endpoint hangs."""
        heard_at = time.monotonic()
        while True:
            left_s = max(heard_at, self._endpoint.replied_at) + SILENT_S - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            elif await self._hangs():
                break
            else:
                heard_at = time.monotonic()
        given_up, self._asking, self._watching = self._asking, set(), None
        for question in given_up:
            question.cancel()

    async def _hangs(self) -> bool:
        """Whether it neither writes nor answers anything meanwhile, or that cannot be found out."""
        asked_at = time.monotonic()
        writing = asyncio.ensure_future(self._writes())
        try:
            while not writing.done() and self._endpoint.replied_at < asked_at:
                await asyncio.wait({writing}, timeout=LOOK_S)
            if self._endpoint.replied_at >= asked_at:
                return False
            if (error := writing.exception()) is not None:
                # Whoever watches no more would let questions wait for ever.
                logger.error("endpoint_cannot_be_watched", endpoint=self._endpoint.shown, exc_info=error)
                return True
            return not writing.result()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
