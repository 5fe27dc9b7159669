"""A reply whose traces are sent as they are scored, one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mrt_reward.errors import MRTRewardError
from mrt_reward.server.calls import Caller
from mrt_reward.server.contract import NDJSON
from mrt_reward.server.scoring import IndexedTrace, NewNotes, failed
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire import StreamedTrace


class ScoreStream(Response):
    """Begins with the first result, so that a request nothing was scored of keeps the status of its error.

    After that an error, a deadline that passes included, is reported by one line for each trace that has none yet. A
    caller who hangs up stops the work at once.

    Args:
        results: traces as they are scored, with their index in the request; closed in any case.
        asked: the traces of the request.
        caller: for whom they are scored.

    """

    media_type = NDJSON

    def __init__(self, results: AsyncGenerator[IndexedTrace], asked: Sequence[Trace], caller: Caller) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._results = results
        self._asked = asked
        self._caller = caller
        self._missing = set(range(len(asked)))
        self._notes = NewNotes()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply.

        Raises:
            MRTRewardError: there is no first result.
            CallerGone: nobody waits any more.

        """
        try:
            await self._caller.attend(self._send_results(send))
        except MRTRewardError as error:
            if not self._begun:
                raise
            for index in sorted(self._missing):
                await self._send_line(index, failed(self._asked[index], error), send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_results(self, send: Send) -> None:
        async with aclosing(self._results) as results:
            async for index, scored in results:
                await self._send_line(index, scored, send)

    async def _send_line(self, index: int, scored: ScoredTrace, send: Send) -> None:
        line = StreamedTrace(index=index, trace=scored, notes=self._notes.new(scored.notes))
        if not self._begun:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._begun = True
        await send({"type": "http.response.body", "body": line.model_dump_json().encode() + b"\n", "more_body": True})
        self._missing.discard(index)
