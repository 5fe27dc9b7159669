"""Many concurrent single-trace calls become few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrt_reward.errors import MRTRewardError, WireError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace
from mrt_reward.wire import TraceIn

MAX_REQUEST_BYTES = 8_000_000
MAX_REQUEST_TRACES = 256
COALESCE_S = 0.005
"""How long a single-trace call waits for company."""

Deliver = Callable[[int, ScoredTrace], None]
Send = Callable[[Sequence[TraceIn], "ScoreOptions | None", Deliver], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    trace: TraceIn
    future: asyncio.Future[ScoredTrace]


def split(traces: Sequence[TraceIn]) -> list[list[TraceIn]]:
    """Parts that are small enough for one request each, in order."""
    parts: list[list[TraceIn]] = []
    num_bytes = 0
    for trace in traces:
        size = num_bytes_of(trace)
        if not parts or num_bytes + size > MAX_REQUEST_BYTES or len(parts[-1]) == MAX_REQUEST_TRACES:
            parts.append([])
            num_bytes = 0
        parts[-1].append(trace)
        num_bytes += size
    return parts


def num_bytes_of(trace: TraceIn) -> int:
    """Size of one trace in a request."""
    return len(trace.model_dump_json(exclude_unset=True).encode()) + 1


class Coalescer:
    """Joins calls with equal options into requests; each caller gets its own result, and may leave at any time.

    Args:
        send: sends one request and delivers its traces by their place in it.
        slots: bounds requests in flight; while none is free, more callers join the next request.

    """

    def __init__(self, send: Send, slots: asyncio.Semaphore) -> None:
        self._send = send
        self._slots = slots
        self._waiting: dict[ScoreOptions | None, list[_Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def score(self, trace: TraceIn, options: ScoreOptions | None) -> ScoredTrace:
        """One trace, sent together with others."""
        call = _Call(trace, asyncio.get_running_loop().create_future())
        company = self._waiting.setdefault(options, [])
        company.append(call)
        if len(company) == 1:
            self._own(self._gather(options))
        return await call.future

    async def close(self) -> None:
        """Stop; callers that still wait get an error."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for company in self._waiting.values():
            _fail(company, WireError("the client was closed"))
        self._waiting.clear()

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _gather(self, options: ScoreOptions | None) -> None:
        """Send all that gathers, request by request, until nobody waits."""
        await asyncio.sleep(COALESCE_S)
        while True:
            await self._slots.acquire()
            batch = self._take(options)
            if not batch:
                self._slots.release()
                return
            self._own(self._answer(batch, options)).add_done_callback(lambda _: self._slots.release())

    def _take(self, options: ScoreOptions | None) -> list[_Call]:
        """The next request's calls; those that were given up are left out."""
        company = [call for call in self._waiting.pop(options, []) if not call.future.done()]
        parts = split([call.trace for call in company])
        num_taken = len(parts[0]) if parts else 0
        if company[num_taken:]:
            self._waiting[options] = company[num_taken:]
        return company[:num_taken]

    async def _answer(self, batch: Sequence[_Call], options: ScoreOptions | None) -> None:
        # Callers know nothing of each other, so their ids may repeat; in the request, places are the ids.
        traces = [call.trace.model_copy(update={"id": str(place)}) for place, call in enumerate(batch)]
        task = asyncio.current_task()

        def on_done(_: asyncio.Future[ScoredTrace]) -> None:
            if task is not None and all(call.future.cancelled() for call in batch):
                task.cancel()

        def deliver(place: int, scored: ScoredTrace) -> None:
            call = batch[place]
            if not call.future.done():
                call.future.set_result(replace(scored, id=call.trace.id))

        for call in batch:
            call.future.add_done_callback(on_done)
        try:
            await self._send(traces, options, deliver)
        except MRTRewardError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, WireError("the client was closed"))
            raise


def _fail(calls: Sequence[_Call], error: MRTRewardError) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)
