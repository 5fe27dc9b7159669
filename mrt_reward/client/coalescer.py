"""Many concurrent single-trace calls become few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mrt_reward.client.bodies import Written, split
from mrt_reward.client.servers import Route
from mrt_reward.errors import MRTRewardError, RequestRejected, WireError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace

COALESCE_S = 0.005
"""How long a single-trace call waits for company."""

ABOUT_CONTENT = frozenset({400, 413, 422})
"""Statuses with which one trace may fail the request that it travels in."""

Deliver = Callable[[int, ScoredTrace, bool], None]
"""Takes a trace by its index in the request, and whether that is final; if not, a later try may replace it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Traces of one request.

    Attributes:
        traces: in its order.
        options: how to score them.
        ids: under which they are sent.
        route: the servers, in the order in which they are to be tried.
        ends_at: when nobody waits for them any more, in the event loop's time.

    """

    traces: Sequence[Written]
    options: ScoreOptions | None
    ids: Sequence[str]
    route: Route
    ends_at: float

    def halves(self) -> tuple[Parcel, Parcel]:
        """The same in two requests; of two traces or more."""
        middle = len(self.traces) // 2
        return (
            replace(self, traces=self.traces[:middle], ids=self.ids[:middle]),
            replace(self, traces=self.traces[middle:], ids=self.ids[middle:]),
        )


Send = Callable[[Parcel, Deliver], Coroutine[Any, Any, None]]

Company = tuple[ScoreOptions | None, Route]
"""What calls have in common that may travel together."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One caller's trace.

    Attributes:
        trace: as it is sent.
        ends_at: when its caller's time is up, in the event loop's time.
        future: its score. Whoever waits for it leaves by cancelling.
        held: its last failure while the engine was away, if any; for its caller, where the future ends in an error.

    """

    trace: Written
    ends_at: float
    future: asyncio.Future[ScoredTrace]
    held: list[ScoredTrace] = field(default_factory=list[ScoredTrace])


class Coalescer:
    """Joins calls of equal options and routes into requests; each caller gets its own result, and may leave any time.

    Args:
        send: sends one request and delivers its traces by their index in it.
        slots: bounds requests in flight; while none is free, more callers join the next request.

    """

    def __init__(self, send: Send, slots: asyncio.Semaphore) -> None:
        self._send = send
        self._slots = slots
        self._waiting: dict[Company, list[Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, trace: Written, company: Company, ends_at: float) -> Call:
        """One trace, sent together with others."""
        call = Call(trace, ends_at, asyncio.get_running_loop().create_future())
        waiting = self._waiting.setdefault(company, [])
        waiting.append(call)
        if len(waiting) == 1:
            self._own(self._gather(company))
        return call

    async def close(self) -> None:
        """Stop; callers that still wait get an error."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting.values():
            _fail(waiting, WireError("the client was closed"))
        self._waiting.clear()

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _gather(self, company: Company) -> None:
        """Send all that gathers, request by request, until nobody waits."""
        await asyncio.sleep(COALESCE_S)
        while True:
            await self._slots.acquire()
            batch = self._take(company)
            if not batch:
                self._slots.release()
                return
            self._own(self._answer(batch, company)).add_done_callback(partial(self._settle, batch))

    def _settle(self, batch: Sequence[Call], answering: asyncio.Task[None]) -> None:
        """The end of a request, however it came: its slot is free, and who still waits gets an error."""
        self._slots.release()
        if answering.cancelled():
            _fail(batch, WireError("the client was closed"))
        elif (error := answering.exception()) is not None:
            _fail(batch, WireError(f"the client failed to send this ({type(error).__name__}: {error})", code="bug"))
        else:
            _fail(batch, WireError("the reply ended without this trace"))

    def _take(self, company: Company) -> list[Call]:
        """The next request's calls; those that were given up are left out."""
        waiting = [call for call in self._waiting.pop(company, []) if not call.future.done()]
        parts = split([call.trace for call in waiting])
        num_taken = len(parts[0]) if parts else 0
        if waiting[num_taken:]:
            self._waiting[company] = waiting[num_taken:]
        return waiting[:num_taken]

    async def _answer(self, batch: Sequence[Call], company: Company) -> None:
        """One batch; stop once nobody waits for it."""
        task = asyncio.current_task()

        def on_done(_: asyncio.Future[ScoredTrace]) -> None:
            if task is not None and all(call.future.cancelled() for call in batch):
                task.cancel()

        for call in batch:
            call.future.add_done_callback(on_done)
        await self._answer_part(batch, company)

    async def _answer_part(self, batch: Sequence[Call], company: Company) -> None:
        """One request; where one of its traces had it refused, smaller ones, until that trace fails alone."""

        def deliver(index: int, scored: ScoredTrace, final: bool) -> None:
            call = batch[index]
            own = replace(scored, id=call.trace.id)
            if not final:
                call.held[:] = [own]
            elif not call.future.done():
                call.future.set_result(own)

        # Callers know nothing of each other, so their ids may repeat; in the request, indices are the ids.
        ids = [str(index) for index in range(len(batch))]
        options, route = company
        ends_at = max(call.ends_at for call in batch)
        try:
            await self._send(Parcel([call.trace for call in batch], options, ids, route, ends_at), deliver)
        except MRTRewardError as error:
            waiting = [call for call in batch if not call.future.done()]
            if len(batch) == 1 or not isinstance(error, RequestRejected) or error.status not in ABOUT_CONTENT:
                _fail(waiting, error)
                return
            middle = (len(waiting) + 1) // 2
            for part in (waiting[:middle], waiting[middle:]):
                if part:
                    await self._answer_part(part, company)


def _fail(calls: Sequence[Call], error: MRTRewardError) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)
