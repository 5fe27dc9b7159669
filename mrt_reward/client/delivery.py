"""The traces of one request, on their way back: each is scored once, whatever breaks in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from pydantic import ValidationError

from mrt_reward.client.bodies import score_body
from mrt_reward.client.coalescer import Deliver, Parcel
from mrt_reward.client.retry import MALFORMED, UNREACHABLE, Refused, refused, why_away
from mrt_reward.errors import Draining, ProverUnavailable, WireError
from mrt_reward.types import ScoredTrace
from mrt_reward.wire import StreamedTrace

PATH = "/v1/score"


class Delivery:
    """Asks for the traces of a parcel that are missing.

    A trace that failed because the engine is away is missing as well; its failure stands until a try does better.
    A server that is asked again gets the same request under the same key, so that it goes on with what it has begun.
    Once all that is missing has failed so, and at another server, what is missing is all that is asked for.

    Args:
        http: connections.
        parcel: the traces.
        deliver: called for each; see `Deliver`.

    """

    def __init__(self, http: httpx.AsyncClient, parcel: Parcel, deliver: Deliver) -> None:
        self._http = http
        self._parcel = parcel
        self._deliver = deliver
        self._missing = dict.fromkeys(range(len(parcel.traces)))
        self._url = ""
        self._asked: list[int] = []
        self._request: dict[str, Any] = {}
        self._away: dict[int, Draining | ProverUnavailable] = {}

    async def attempt(self, url: str, headers: Mapping[str, str]) -> None:
        """Ask a server once.

        Raises:
            Refused: something is missing still.
            httpx.HTTPError: the reply was lost.

        """
        if url != self._url or self._missing.keys() == self._away.keys():
            self._ask_anew(url)
        broken: Refused | None = None
        num_before = len(self._missing)
        sent = {**headers, **self._request["headers"]}
        async with self._http.stream("POST", url + PATH, content=self._request["content"], headers=sent) as reply:
            if not reply.is_success:
                await reply.aread()
                raise refused(reply)
            async for line in reply.aiter_lines():
                try:
                    self._take(line)
                except ValidationError as error:
                    broken = not_a(url, "StreamedTrace", error)
        if self._missing:
            if self._missing.keys() == self._away.keys():
                raise Refused(next(iter(self._away.values())), answered=len(self._missing) < num_before)
            lost = f"{url}: the reply ended with {len(self._missing) - len(self._away)} traces missing"
            raise broken or Refused(WireError(lost, code=UNREACHABLE))

    def _ask_anew(self, url: str) -> None:
        self._url, self._asked, self._away = url, list(self._missing), {}
        traces = [self._parcel.traces[index] for index in self._asked]
        ids = [self._parcel.ids[index] for index in self._asked]
        self._request = {
            "content": score_body(traces, self._parcel.options, ids),
            "headers": {"Accept": "application/x-ndjson", "Idempotency-Key": uuid.uuid4().hex},
        }

    def _take(self, line: str) -> None:
        item = StreamedTrace.model_validate_json(line)
        index = self._asked[item.index] if 0 <= item.index < len(self._asked) else None
        if index not in self._missing:
            return
        away = why_away(item.trace.error)
        if away is None:
            del self._missing[index]
            self._away.pop(index, None)
        else:
            self._away[index] = away
        self._deliver(index, replace(item.trace, notes=tuple(item.notes)), away is None)


class Landing:
    """Where the traces of a request come in, on their way to a caller who takes them one by one.

    Args:
        found: what the caller takes, by the index in the call.
        indices: of the request's traces in the call.

    """

    def __init__(self, found: asyncio.Queue[tuple[int, ScoredTrace] | None], indices: Sequence[int]) -> None:
        self._found = found
        self._indices = indices
        self._done: set[int] = set()
        self._held: dict[int, ScoredTrace] = {}

    def deliver(self, index: int, scored: ScoredTrace, final: bool) -> None:
        """Hand it on, or hold it for what may still come."""
        if not final:
            self._held[index] = scored
        elif index not in self._done:
            self._done.add(index)
            self._held.pop(index, None)
            self._found.put_nowait((self._indices[index], scored))

    def end(self) -> bool:
        """Hand on what was held, as nothing more will come; whether none of the traces was lost."""
        for index, scored in tuple(self._held.items()):
            self.deliver(index, scored, final=True)
        return len(self._done) == len(self._indices)


def not_a(url: str, what: str, error: ValidationError) -> Refused:
    """The typed error of a reply that is not of the contract."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return Refused(WireError(f"the reply of {url} is no {what}: {where}: {first['msg']}", code=MALFORMED))
