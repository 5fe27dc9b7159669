"""The traces of one request, begun in turn with those of others, and given back as they finish."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from mrt_reward.protocols import asking_together
from mrt_reward.protocols.stages import stage
from mrt_reward.types import ScoredTrace

BEGUN_AT_ONCE = 64
"""Traces of a request that are begun before the event loop turns to others; each takes a tenth of a millisecond."""

Scoring = Coroutine[Any, Any, tuple[int, ScoredTrace]]


async def as_finished(scorings: Iterable[Scoring], num_tokens: int) -> AsyncGenerator[tuple[int, ScoredTrace]]:
    """Each trace with its index, as soon as it is scored. Closing the iterator stops the rest.

    Args:
        scorings: begun here, and graded as one request.
        num_tokens: of all their proofs.

    """
    as_one = contextvars.copy_context()
    as_one.run(asking_together)
    outcomes = Counter[str]()
    tasks: list[asyncio.Task[tuple[int, ScoredTrace]]] = []
    with ExitStack() as ended:
        # A generator is resumed in any context; what the traces belong to is said in theirs.
        opened = ExitStack()
        note = as_one.run(opened.enter_context, stage("score", tokens=num_tokens))

        def close(kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None) -> None:
            as_one.run(opened.__exit__, kind, error, frames)

        ended.push(close)
        try:
            for scoring in scorings:
                tasks.append(as_one.run(asyncio.create_task, scoring))
                if len(tasks) % BEGUN_AT_ONCE == 0:
                    await asyncio.sleep(0)
            for finished in asyncio.as_completed(tasks):
                index, scored = await finished
                outcomes[scored.status.value] += 1
                yield index, scored
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            note({"traces": len(tasks), **outcomes})
