"""The client itself, asynchronous.

What fails for a while is asked again; what was lost is a typed error or a trace with `status` "error", never a number.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.client.coalescer import Coalescer, Deliver, split
from mrt_reward.client.retry import MALFORMED, UNREACHABLE, Refused, RetryPolicy, refused, unreachable
from mrt_reward.errors import DeadlineExceeded, RequestRejected, WireError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire import (
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesRequest,
    EpisodesResponse,
    ProverOut,
    ScoreRequest,
    StreamedTrace,
    TraceIn,
)

Reply = TypeVar("Reply", bound=BaseModel)
Result = TypeVar("Result")
TraceLike = Trace | TraceIn | Mapping[str, object]

MAX_IN_FLIGHT = 32
CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request, the same at each try."""

    method: str
    path: str
    content: bytes | None
    headers: Mapping[str, str]


def trace_in(trace: TraceLike, place: int) -> TraceIn:
    """A trace as it is sent; without an id, its place is the id.

    Raises:
        RequestRejected: it is no trace; the message names the field.

    """
    if isinstance(trace, TraceIn):
        return trace
    try:
        if isinstance(trace, Trace):
            return TraceIn.from_trace(trace)
        return TraceIn.model_validate({"id": str(place), **trace})
    except ValidationError as error:
        raise _rejected(error, f"traces.{place}.") from error


def _rejected(error: ValidationError, where: str) -> RequestRejected:
    first = error.errors(include_url=False)[0]
    param = where + ".".join(str(part) for part in first["loc"])
    return RequestRejected(f"{param}: {first['msg']}", code="invalid_request", param=param)


class AsyncClient:
    """Talks to one server.

    Args:
        url: such as `http://127.0.0.1:8000`.
        api_key: sent as a bearer token.
        timeout_s: longest time for one call, tries and waits included; what is left of it goes along as the deadline.
        retry: when to ask again.
        transport: for tests, `httpx.ASGITransport`.

    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=MAX_IN_FLIGHT + 1, max_keepalive_connections=MAX_IN_FLIGHT)
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, transport=transport)
        # The pool's own waiting list is quadratic in its length, so calls wait here.
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._coalescer = Coalescer(self._send, self._slots)

    async def __aenter__(self) -> AsyncClient:
        """Use as a context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close connections; calls in flight fail."""
        await self._coalescer.close()
        await self._http.aclose()

    async def score(self, traces: Sequence[TraceLike], options: ScoreOptions | None = None) -> list[ScoredTrace]:
        """Score traces, in their order. Single traces are sent together with those of concurrent calls.

        Raises:
            ServiceError: the server was too busy, draining or too slow, also when asked again.
            ProverUnavailable: it could not prove, also when asked again.
            WireError: no usable reply came; `RequestRejected` if asking again cannot help.

        """
        asked = [trace_in(trace, place) for place, trace in enumerate(traces)]
        if len(asked) == 1:
            return [await self._coalescer.score(asked[0], options)]
        scored = {place: trace async for place, trace in self.stream(asked, options)}
        return [scored[place] for place in range(len(asked))]

    async def stream(
        self, traces: Sequence[TraceLike], options: ScoreOptions | None = None
    ) -> AsyncGenerator[tuple[int, ScoredTrace]]:
        """Each trace with its place in `traces`, as soon as it is scored; closing stops the rest; raises as `score`."""
        asked = [trace_in(trace, place) for place, trace in enumerate(traces)]
        found: asyncio.Queue[tuple[int, ScoredTrace] | None] = asyncio.Queue()

        async def send_all() -> None:
            try:
                start = 0
                parts: list[Awaitable[None]] = []
                for part in split(asked):
                    parts.append(self._send_slotted(part, options, _shifted(found, start)))
                    start += len(part)
                await asyncio.gather(*parts)
            finally:
                found.put_nowait(None)

        sending = asyncio.create_task(send_all())
        try:
            while (item := await found.get()) is not None:
                yield item
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def advantages(self, request: AdvantagesRequest | Mapping[str, object]) -> AdvantagesResponse:
        """Advantages of whole groups; raises as `score` does."""
        try:
            body = request if isinstance(request, AdvantagesRequest) else AdvantagesRequest.model_validate(request)
        except ValidationError as error:
            raise _rejected(error, "") from error
        return await self._call("POST", "/v1/advantages", AdvantagesResponse, body)

    async def episodes(self, traces: Sequence[TraceLike], options: ScoreOptions | None = None) -> EpisodesResponse:
        """Segmentation only; raises as `score` does."""
        asked = [trace_in(trace, place) for place, trace in enumerate(traces)]
        bodies = [_body(EpisodesRequest, part, options) for part in split(asked)]
        parts = await asyncio.gather(*(self._call("POST", "/v1/episodes", EpisodesResponse, body) for body in bodies))
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return EpisodesResponse(traces=[trace for part in parts for trace in part.traces], notes=list(notes))

    async def prover(self) -> ProverOut:
        """Who proves; raises as `score` does."""
        return await self._call("GET", "/v1/prover", ProverOut)

    async def ready(self) -> bool:
        """Whether a server is there that can prove at present; asks once."""
        try:
            return (await self._http.get(self._url + "/readyz", timeout=30.0)).is_success
        except httpx.HTTPError:
            return False

    async def _send_slotted(self, traces: Sequence[TraceIn], options: ScoreOptions | None, deliver: Deliver) -> None:
        async with self._slots:
            await self._send(traces, options, deliver)

    async def _send(self, traces: Sequence[TraceIn], options: ScoreOptions | None, deliver: Deliver) -> None:
        """Score one request's traces, each delivered once; what a broken stream or line lost is asked for again."""
        missing = set(range(len(traces)))
        ask = _ask("POST", "/v1/score", _body(ScoreRequest, traces, options), {"Accept": "application/x-ndjson"})

        async def attempt(headers: Mapping[str, str]) -> None:
            broken: Refused | None = None
            async with self._http.stream(
                ask.method, self._url + ask.path, content=ask.content, headers=headers
            ) as reply:
                if not reply.is_success:
                    raise refused(reply.status_code, reply.headers, await reply.aread())
                async for line in reply.aiter_lines():
                    try:
                        place, scored = self._parsed(line)
                    except Refused as error:
                        broken = error
                        continue
                    if place in missing:
                        missing.discard(place)
                        deliver(place, scored)
            if missing:
                raise broken or Refused(
                    WireError(f"{self._url}: the reply ended with {len(missing)} traces missing", code=UNREACHABLE)
                )

        await self._retried(ask, attempt)

    def _parsed(self, line: str) -> tuple[int, ScoredTrace]:
        try:
            item = StreamedTrace.model_validate_json(line)
        except ValidationError as error:
            raise self._not_a("StreamedTrace", error) from error
        return item.index, replace(item.trace.to_scored(), notes=tuple(item.notes))

    def _not_a(self, what: str, error: ValidationError) -> Refused:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Refused(WireError(f"the reply of {self._url} is no {what}: {where}: {first['msg']}", code=MALFORMED))

    async def _call(self, method: str, path: str, reply: type[Reply], body: BaseModel | None = None) -> Reply:
        ask = _ask(method, path, body, {})

        async def attempt(headers: Mapping[str, str]) -> Reply:
            response = await self._http.request(method, self._url + path, content=ask.content, headers=headers)
            if not response.is_success:
                raise refused(response.status_code, response.headers, response.content)
            try:
                return reply.model_validate_json(response.content)
            except ValidationError as error:
                raise self._not_a(reply.__name__, error) from error

        async with self._slots:
            return await self._retried(ask, attempt)

    async def _retried(self, ask: _Ask, attempt: Callable[[Mapping[str, str]], Awaitable[Result]]) -> Result:
        """Try until it works, cannot work, or the time is up; the same key at each try, so nothing is scored twice."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._timeout_s
        num_tries = 0
        while True:
            num_tries += 1
            left_s = ends_at - loop.time()
            outcome = await self._tried(ask, attempt, left_s)
            if not isinstance(outcome, Refused):
                return outcome
            error = outcome.error
            wait_s = self._retry.wait_s(num_tries, outcome.wait_s)
            if not self._retry.may_retry(error, num_tries) or loop.time() + wait_s >= ends_at:
                raise error
            await asyncio.sleep(wait_s)

    async def _tried(
        self, ask: _Ask, attempt: Callable[[Mapping[str, str]], Awaitable[Result]], left_s: float
    ) -> Result | Refused:
        headers = {**ask.headers, "X-Deadline-Ms": str(max(1, min(86_400_000, int(left_s * 1000))))}
        try:
            return await asyncio.wait_for(attempt(headers), left_s)
        except Refused as error:
            return error
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeoutError, asyncio.TimeoutError):
            return Refused(DeadlineExceeded(f"no reply from {self._url} within {self._timeout_s:g} s"))
        except httpx.HTTPError as error:
            return unreachable(self._url, error)
        except httpx.InvalidURL as error:
            return Refused(RequestRejected(f"{self._url} is no URL: {error}"))


def _ask(method: str, path: str, body: BaseModel | None, headers: Mapping[str, str]) -> _Ask:
    sent = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
    content = None if body is None else body.model_dump_json(exclude_unset=True).encode()
    return _Ask(method, path, content, {**sent, **headers})


def _body(kind: type[ScoreRequest], traces: Sequence[TraceIn], options: ScoreOptions | None) -> ScoreRequest:
    given = {} if options is None else {"options": options}
    return kind.model_validate({"traces": list(traces), **given})


def _shifted(found: asyncio.Queue[tuple[int, ScoredTrace] | None], start: int) -> Deliver:
    return lambda place, scored: found.put_nowait((start + place, scored))
