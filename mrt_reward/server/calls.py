"""A call to the scorer on behalf of a caller who has a deadline and may hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from fastapi import Request
from starlette.exceptions import HTTPException

from mrt_reward.errors import DeadlineExceeded
from mrt_reward.options import ScoreOptions
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wire import StreamedTrace, TraceOut

Result = TypeVar("Result")

DEADLINE_HEADER = "x-deadline-ms"


class CallerGone(Exception):
    """The caller hung up."""


def deadline_s(request: Request, default_s: float) -> float:
    """Seconds that this request may take: the caller's `X-Deadline-Ms`, at most the server's.

    Raises:
        HTTPException: the header is no number of milliseconds.

    """
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return default_s
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 12 or int(text) == 0:
        raise HTTPException(400, f"X-Deadline-Ms: expected a number of milliseconds above 0, got {text[:50]!r}")
    return min(int(text) / 1000, default_s)


def _late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"not scored within {seconds:g} s: send fewer traces at once, or allow more time")


async def attended(request: Request, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Run `work` until it is done, the deadline passes or the caller hangs up; then it is cancelled.

    Raises:
        DeadlineExceeded: the time ran out.
        CallerGone: nobody waits any more.

    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise CallerGone
        raise _late(seconds)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def first_then_rest(
    scorer: Scorer, traces: Sequence[Trace], options: ScoreOptions, telemetry: Telemetry, seconds: float
) -> AsyncIterator[bytes]:
    """NDJSON lines as traces finish. The first item is awaited before anything is sent, so refusals keep their status.

    Once lines were sent, a missed deadline is an error in each trace that is left.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    waiting = set(range(len(traces)))
    stream = scorer.stream(traces, options)
    async with aclosing(cast("Any", stream)):
        while waiting:
            try:
                place, scored = await asyncio.wait_for(anext(stream), ends_at - loop.time())
            except (TimeoutError, asyncio.TimeoutError) as error:
                if len(waiting) == len(traces):
                    raise _late(seconds) from error
                break
            waiting.discard(place)
            telemetry.count_trace(scored)
            yield _line(place, scored)
    late = _late(seconds)
    for place in sorted(waiting):
        info = ErrorInfo(str(late), type(late).__name__, late.code)
        yield _line(place, ScoredTrace(traces[place].id, Status.ERROR, metadata=traces[place].metadata, error=info))


def _line(place: int, scored: ScoredTrace) -> bytes:
    record = StreamedTrace(index=place, trace=TraceOut.from_scored(scored)).model_dump(mode="json")
    return json.dumps(record).encode() + b"\n"


async def started(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same lines, once the first one is there; raises what made it fail."""
    first = await anext(lines)

    async def resumed() -> AsyncIterator[bytes]:
        async with aclosing(cast("Any", lines)):
            yield first
            async for line in lines:
                yield line

    return resumed()
