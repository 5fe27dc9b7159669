"""The client itself, asynchronous.

Concurrent single-trace calls are coalesced into few requests; what fails for a while is tried again; what was lost is a
typed error or a trace with `status` "error", never a number.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    Overloaded,
    RequestRejected,
    ServiceError,
    WireError,
)
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire import (
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesResponse,
    ErrorBody,
    ProverOut,
    ScoreRequest,
    ScoreResponse,
    TraceIn,
)

Reply = TypeVar("Reply", bound=BaseModel)
TraceLike = Trace | TraceIn | Mapping[str, object]

MAX_REQUEST_BYTES = 8_000_000
MAX_REQUEST_TRACES = 256
MAX_IN_FLIGHT = 32
COALESCE_S = 0.005
"""How long a single-trace call waits for company."""

_SERVICE_ERRORS: Mapping[int, type[ServiceError]] = {429: Overloaded, 503: Draining, 504: DeadlineExceeded}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again: refused connections, lost replies, 429, 503 and 504.

    Attributes:
        max_tries: in all.
        base_s: scale of the waits; they double, with full jitter, and a longer `Retry-After` wins.
        max_wait_s: longest wait.

    """

    max_tries: int = 5
    base_s: float = 0.25
    max_wait_s: float = 20.0

    def wait_s(self, num_tries: int, error: WireError | ServiceError) -> float:
        """Seconds to wait after this many tries."""
        jittered = random.uniform(0, min(self.max_wait_s, self.base_s * 2**num_tries))  # noqa: S311 - no secret
        told = error.retry_after_s if isinstance(error, ServiceError) else 0.0
        return min(self.max_wait_s, max(jittered, told))


def _as_in(trace: TraceLike, place: int) -> TraceIn:
    if isinstance(trace, Trace):
        trace = TraceIn.from_trace(trace)
    elif not isinstance(trace, TraceIn):
        trace = TraceIn.model_validate(trace)
    return trace if trace.id else trace.model_copy(update={"id": str(place)})


class AsyncClient:
    """Talks to one server.

    Args:
        url: such as `http://127.0.0.1:8000`.
        api_key: sent as a bearer token.
        timeout_s: longest time for one request, also sent as its deadline.
        retry: when to try again.
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
        limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout_s, limits=limits, transport=transport)
        # The pool's own waiting list is quadratic in its length, so calls wait here.
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._waiting: dict[ScoreOptions | None, list[tuple[TraceIn, asyncio.Future[ScoredTrace]]]] = {}
        self._flushes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> AsyncClient:
        """Use as a context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close connections; calls in flight fail."""
        for flush in self._flushes:
            flush.cancel()
        await asyncio.gather(*self._flushes, return_exceptions=True)
        for company in self._waiting.values():
            for _, future in company:
                future.cancel()
        await self._http.aclose()

    async def score(self, traces: Sequence[TraceLike], options: ScoreOptions | None = None) -> list[ScoredTrace]:
        """Score traces, in their order; large lists are split into several requests.

        Raises:
            ServiceError: the server was too busy, draining or too slow, also when asked again.
            WireError: no usable reply came; `RequestRejected` if asking again cannot help.

        """
        asked = [_as_in(trace, place) for place, trace in enumerate(traces)]
        if len(asked) == 1:
            return [await self._coalesced(asked[0], options)]
        parts = await asyncio.gather(*(self._score(part, options) for part in _split(asked)))
        return [trace for part in parts for trace in part]

    async def advantages(self, request: AdvantagesRequest | Mapping[str, object]) -> AdvantagesResponse:
        """Advantages of whole groups; raises as `score` does."""
        body = request if isinstance(request, AdvantagesRequest) else AdvantagesRequest.model_validate(request)
        return await self._call("POST", "/v1/advantages", AdvantagesResponse, body)

    async def episodes(self, traces: Sequence[TraceLike], options: ScoreOptions | None = None) -> EpisodesResponse:
        """Segmentation only; raises as `score` does."""
        body = ScoreRequest(traces=[_as_in(trace, place) for place, trace in enumerate(traces)], options=options)
        return await self._call("POST", "/v1/episodes", EpisodesResponse, body)

    async def prover(self) -> ProverOut:
        """Who proves; raises as `score` does."""
        return await self._call("GET", "/v1/prover", ProverOut)

    async def _score(self, traces: Sequence[TraceIn], options: ScoreOptions | None) -> list[ScoredTrace]:
        body = ScoreRequest(traces=list(traces), options=options)
        reply = await self._call("POST", "/v1/score", ScoreResponse, body)
        if len(reply.traces) != len(traces):
            raise WireError(f"expected {len(traces)} traces in the reply, got {len(reply.traces)}")
        return [trace.to_scored() for trace in reply.traces]

    async def _coalesced(self, trace: TraceIn, options: ScoreOptions | None) -> ScoredTrace:
        future: asyncio.Future[ScoredTrace] = asyncio.get_running_loop().create_future()
        company = self._waiting.setdefault(options, [])
        company.append((trace, future))
        if len(company) == 1:
            flush = asyncio.create_task(self._flush(options))
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
        return await future

    async def _flush(self, options: ScoreOptions | None) -> None:
        """Send what has gathered; a caller that left meanwhile is left out, and harms nobody."""
        await asyncio.sleep(COALESCE_S)
        company = [pair for pair in self._waiting.pop(options) if not pair[1].cancelled()]
        parts = _split([trace for trace, _ in company])
        futures = iter([future for _, future in company])
        await asyncio.gather(*(self._answer(part, [next(futures) for _ in part], options) for part in parts))

    async def _answer(
        self, traces: Sequence[TraceIn], futures: Sequence[asyncio.Future[ScoredTrace]], options: ScoreOptions | None
    ) -> None:
        try:
            scored = await self._score(traces, options)
        except (WireError, ServiceError) as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        for future, trace in zip(futures, scored, strict=True):
            if not future.done():
                future.set_result(trace)

    async def _call(self, method: str, path: str, reply: type[Reply], body: BaseModel | None = None) -> Reply:
        content = None if body is None else body.model_dump_json(exclude_unset=True).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": uuid.uuid4().hex,
            "X-Deadline-Ms": str(max(1, int(self._timeout_s * 1000))),
        }
        async with self._slots:
            num_tries = 0
            while True:
                try:
                    return await self._try(method, path, reply, (content, headers))
                except (WireError, ServiceError) as error:  # noqa: PERF203 - the loop is there for its sake
                    num_tries += 1
                    if not error.retryable or num_tries >= self._retry.max_tries:
                        raise
                    await asyncio.sleep(self._retry.wait_s(num_tries, error))

    async def _try(
        self, method: str, path: str, reply: type[Reply], sent: tuple[bytes | None, Mapping[str, str]]
    ) -> Reply:
        content, headers = sent
        try:
            response = await self._http.request(method, self._url + path, content=content, headers=dict(headers))
        except httpx.ConnectError as error:
            raise WireError(f"no server at {self._url} ({error}): start one with `mrt-reward serve`") from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"no reply from {self._url} within {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise WireError(f"{self._url}: {type(error).__name__}: {error}") from error
        if response.is_success:
            try:
                return reply.model_validate_json(response.content)
            except ValidationError as error:
                raise WireError(f"the reply of {self._url} is not a {reply.__name__}: {error}") from error
        raise _told(response)


def _told(response: httpx.Response) -> WireError | ServiceError:
    """The typed error of an error reply."""
    try:
        info = ErrorBody.model_validate_json(response.content).error
        message, param = info.message, info.param
    except ValidationError:
        message, param = response.text[:500], None
    message = f"{message} (HTTP {response.status_code})"
    if response.status_code in _SERVICE_ERRORS:
        wait = response.headers.get("retry-after", "")
        return _SERVICE_ERRORS[response.status_code](message, retry_after_s=float(wait) if wait.isdigit() else 0.0)
    kind = RequestRejected if 400 <= response.status_code < 500 else WireError
    return kind(message, param=param)


def _split(traces: Sequence[TraceIn]) -> list[list[TraceIn]]:
    """Parts that are small enough for one request each, in order."""
    parts: list[list[TraceIn]] = []
    num_bytes = 0
    for trace in traces:
        # Text is at most 12 bytes a character as JSON, and nearly always about one.
        size = sum(len(text or "") for text in (trace.problem, trace.prompt, trace.completion))
        size += len(trace.prompt_ids or "") + len(trace.completion_ids or "") + 500
        if not parts or num_bytes + size > MAX_REQUEST_BYTES or len(parts[-1]) == MAX_REQUEST_TRACES:
            parts.append([])
            num_bytes = 0
        parts[-1].append(trace)
        num_bytes += size
    return parts
