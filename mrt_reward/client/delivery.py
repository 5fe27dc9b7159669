"""The traces of one request, on their way back: each is delivered once, whatever breaks in between."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
from pydantic import ValidationError

from mrt_reward.client.bodies import score_body
from mrt_reward.client.coalescer import Deliver, Parcel
from mrt_reward.client.retry import MALFORMED, UNREACHABLE, Refused, refused
from mrt_reward.errors import WireError
from mrt_reward.wire import StreamedTrace

PATH = "/v1/score"


class Delivery:
    """Asks for the traces of a parcel that are missing.

    A server that is asked again gets the same request under the same key, so that it goes on with what it has begun.
    Another server is asked for what is missing only.

    Args:
        http: connections.
        parcel: the traces.
        deliver: called once for each.

    """

    def __init__(self, http: httpx.AsyncClient, parcel: Parcel, deliver: Deliver) -> None:
        self._http = http
        self._parcel = parcel
        self._deliver = deliver
        self._missing = dict.fromkeys(range(len(parcel.traces)))
        self._url = ""
        self._asked: list[int] = []
        self._request: dict[str, Any] = {}

    async def attempt(self, url: str, headers: Mapping[str, str]) -> None:
        """Ask a server once.

        Raises:
            Refused: something is missing still.
            httpx.HTTPError: the reply was lost.

        """
        if url != self._url:
            self._ask_anew(url)
        broken: Refused | None = None
        sent = {**headers, **self._request["headers"]}
        async with self._http.stream("POST", url + PATH, content=self._request["content"], headers=sent) as reply:
            if not reply.is_success:
                raise refused(reply.status_code, reply.headers, await reply.aread())
            async for line in reply.aiter_lines():
                try:
                    self._take(line)
                except ValidationError as error:
                    broken = not_a(url, "StreamedTrace", error)
        if self._missing:
            lost = f"{url}: the reply ended with {len(self._missing)} traces missing"
            raise broken or Refused(WireError(lost, code=UNREACHABLE))

    def _ask_anew(self, url: str) -> None:
        self._url, self._asked = url, list(self._missing)
        traces = [self._parcel.traces[index] for index in self._asked]
        ids = [self._parcel.ids[index] for index in self._asked]
        self._request = {
            "content": score_body(traces, self._parcel.options, ids),
            "headers": {"Accept": "application/x-ndjson", "Idempotency-Key": uuid.uuid4().hex},
        }

    def _take(self, line: str) -> None:
        item = StreamedTrace.model_validate_json(line)
        index = self._asked[item.index] if 0 <= item.index < len(self._asked) else None
        if index in self._missing:
            del self._missing[index]
            self._deliver(index, replace(item.trace, notes=tuple(item.notes)))


def not_a(url: str, what: str, error: ValidationError) -> Refused:
    """The typed error of a reply that is not of the contract."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return Refused(WireError(f"the reply of {url} is no {what}: {where}: {first['msg']}", code=MALFORMED))
