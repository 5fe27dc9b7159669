"""Replies whose traces are sent as they are scored, one JSON object a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mrt_reward.server.calls import GONE, Caller, ended, hung_up, until_late
from mrt_reward.server.contract import NDJSON
from mrt_reward.server.recording import Recording
from mrt_reward.server.scoring import Notes, Placed, failed
from mrt_reward.types import Trace
from mrt_reward.wire import StreamedTrace


class LineStream(StreamingResponse):
    """Lines as they come; a caller who hangs up stops their source at once."""

    media_type = NDJSON

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply. Starlette would cancel its source again at every step of its clean-up, which then fails."""
        sending = asyncio.ensure_future(self.stream_response(send))
        gone = asyncio.ensure_future(hung_up(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            else:
                scope[GONE] = True
        finally:
            await ended(sending, gone)

    async def stream_response(self, send: Send) -> None:
        """Send all lines."""
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            await super().stream_response(send)


async def streamed(recording: Recording[Placed], caller: Caller, asked: Sequence[Trace]) -> LineStream:
    """The reply, once there is a first line: a refusal before it keeps its own status.

    Raises:
        MRTRewardError: nothing can be scored.
        CallerGone: nobody waits any more.

    """
    lines = _lines(recording, caller, asked)
    first = await caller.attend(_first(lines))
    return LineStream(_resumed(first, lines))


def _lines(recording: Recording[Placed], caller: Caller, asked: Sequence[Trace]) -> AsyncGenerator[bytes]:
    waiting, notes = set(range(len(asked))), Notes()

    async def tracked() -> AsyncGenerator[Placed]:
        async with aclosing(recording.read()) as items:
            async for place, scored in items:
                waiting.discard(place)
                yield place, scored

    def rest() -> list[Placed]:
        return [(place, failed(asked[place], caller.late())) for place in sorted(waiting)]

    async def written() -> AsyncGenerator[bytes]:
        async with aclosing(until_late(tracked(), caller, rest)) as items:
            async for place, scored in items:
                line = StreamedTrace(index=place, trace=scored, notes=notes.new(scored.notes))
                yield line.model_dump_json().encode() + b"\n"

    return written()


async def _first(lines: AsyncGenerator[bytes]) -> bytes:
    return await anext(lines)


async def _resumed(first: bytes, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line
