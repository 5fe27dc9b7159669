"""The client itself, asynchronous.

What fails for a while is asked again; what was lost is a typed error or a trace with `status` "error", never a number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.certificates import certificates
from mrt_reward.client.asking import Ask, Asker
from mrt_reward.client.bodies import (
    Groups,
    OptionsLike,
    TraceLike,
    Written,
    advantages_body,
    advantages_request,
    checked,
    score_body,
    split,
    write_all,
)
from mrt_reward.client.coalescer import Coalescer, Deliver, Parcel
from mrt_reward.client.delivery import PATH, Delivery, Landing, not_a
from mrt_reward.client.retry import RetryPolicy, passes, refused
from mrt_reward.client.servers import Servers
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import DeadlineExceeded, MRTRewardError, RequestRejected
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace
from mrt_reward.wire import AdvantagesRequest, AdvantagesResponse, EpisodesResponse, ProverOut

Reply = TypeVar("Reply", bound=BaseModel)
Result = TypeVar("Result")

MAX_IN_FLIGHT = 32
CONNECT_S = 10.0
TOO_LARGE = 413


class AsyncClient:
    """Talks to one server, or to several with one and the same prover.

    The traces of a group, or of a problem where there are no groups, go to one of them, whose cache then holds what
    they share. While it is away they go to another, together; what it had answered is not asked for again.

    Args:
        url: such as `http://127.0.0.1:8000`, or several.
        api_key: sent as a bearer token.
        timeout_s: longest time for one call, tries and all waits included, also those for other calls of this client;
            what is left of it goes along as the deadline.
        retry: when to ask again.
        transport: for tests, `httpx.ASGITransport`.

    """

    def __init__(
        self,
        url: str | Sequence[str] = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._servers = Servers([url] if isinstance(url, str) else url)
        in_flight = MAX_IN_FLIGHT * len(self._servers.urls)
        limits = httpx.Limits(max_connections=in_flight + 1, max_keepalive_connections=in_flight)
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be over 0, got {timeout_s}")
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._http = httpx.AsyncClient(
            headers=headers, timeout=timeout, limits=limits, transport=transport, verify=certificates()
        )
        self._asker = Asker(self._http, self._servers, timeout_s, retry or RetryPolicy())
        # The pool's own waiting list is quadratic in its length, so calls wait here.
        self._slots = asyncio.Semaphore(in_flight)
        self._coalescer = Coalescer(self._send, self._slots)

    async def __aenter__(self) -> AsyncClient:
        """Use as a context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close connections; calls in flight fail."""
        await self._coalescer.close()
        await self._http.aclose()

    async def score(self, traces: Sequence[TraceLike], options: OptionsLike | None = None) -> list[ScoredTrace]:
        """Score traces, in their order. Single traces are sent together with those of concurrent calls.

        A trace that fails because the engine is away is asked for again, like a refused request, until `retry` or
        `timeout_s` ends that; then its failure is its result, and no other trace's.

        Raises:
            ServiceError: the server was too busy, draining or too slow, also when asked again.
            ProverUnavailable: it took no request, because it could not prove, also when asked again.
            WireError: no usable reply came; `RequestRejected` if asking again cannot help.

        """
        asked, chosen = write_all(traces), checked(options)
        if len(asked) == 1:
            ends_at = self._asker.ends_at()
            company = (chosen, self._servers.route(asked[0].asked))
            call = self._coalescer.ask(asked[0], company, ends_at)
            try:
                return [await self._asker.within(ends_at, call.future)]
            except MRTRewardError as error:
                if not (passes(error) and call.held):
                    raise
                return call.held
        scored = {index: trace async for index, trace in self._streamed(asked, chosen)}
        return [scored[index] for index in range(len(asked))]

    async def stream(
        self, traces: Sequence[TraceLike], options: OptionsLike | None = None
    ) -> AsyncGenerator[tuple[int, ScoredTrace]]:
        """Each trace with its index in `traces`, as soon as it is scored; closing stops the rest; raises as `score`."""
        async with aclosing(self._streamed(write_all(traces), checked(options))) as items:
            async for item in items:
                yield item

    async def _streamed(
        self, asked: Sequence[Written], options: ScoreOptions | None
    ) -> AsyncGenerator[tuple[int, ScoredTrace]]:
        found: asyncio.Queue[tuple[int, ScoredTrace] | None] = asyncio.Queue()
        ends_at = self._asker.ends_at()

        async def send_all() -> None:
            try:
                await all_or_none(
                    [
                        self._send_slotted(parcel, Landing(found, indices))
                        for parcel, indices in self._parcels(asked, options, ends_at)
                    ]
                )
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

    def _parcels(
        self, asked: Sequence[Written], options: ScoreOptions | None, ends_at: float
    ) -> Iterator[tuple[Parcel, list[int]]]:
        """Requests that hold all traces, each with the places of its own."""
        for route, indices in self._servers.by_route([trace.asked for trace in asked]).items():
            start = 0
            for part in split([asked[index] for index in indices]):
                here = indices[start : start + len(part)]
                yield Parcel(part, options, [trace.id for trace in part], route, ends_at), here
                start += len(part)

    async def advantages(
        self,
        request: AdvantagesRequest | Mapping[str, object] | None = None,
        *,
        groups: Groups = (),
        credit: CreditConfig | None = None,
        options: OptionsLike | None = None,
        per_token: bool | Literal["base64", "list"] = False,
    ) -> AdvantagesResponse:
        """Advantages of whole groups; raises as `score` does.

            await client.advantages(groups=[await client.score(rows) for rows in rows_by_problem])

        Args:
            request: all of it; or else what follows.
            groups: each the traces of one problem, scored or not; a mapping also has `token_ends`.
            credit: how progress becomes credit.
            options: how traces are scored that are not yet.
            per_token: also spread advantages over the caller's tokens.

        """
        if request is None:
            request = advantages_request(groups, credit=credit, options=checked(options), per_token=per_token)
        return await self._call("POST", "/v1/advantages", AdvantagesResponse, advantages_body(request))

    async def episodes(self, traces: Sequence[TraceLike], options: OptionsLike | None = None) -> EpisodesResponse:
        """Segmentation only; raises as `score` does."""
        chosen = checked(options)
        bodies = [score_body(part, chosen, [trace.id for trace in part]) for part in split(write_all(traces))]
        parts = await all_or_none([self._call("POST", "/v1/episodes", EpisodesResponse, body) for body in bodies])
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return EpisodesResponse(traces=[trace for part in parts for trace in part.traces], notes=list(notes))

    async def prover(self) -> ProverOut:
        """Who proves; raises as `score` does."""
        return await self._call("GET", "/v1/prover", ProverOut)

    async def ready(self) -> bool:
        """Whether a server is there that can prove at present; asks each once."""
        return not self._http.is_closed and any(await asyncio.gather(*map(self._is_ready, self._servers.urls)))

    async def _is_ready(self, url: str) -> bool:
        try:
            asking = self._http.get(url + "/readyz", timeout=30.0)
            return (await self._asker.within(self._asker.ends_at(), asking)).is_success
        except (httpx.HTTPError, httpx.InvalidURL, DeadlineExceeded):
            return False

    async def _slotted(self, ends_at: float, work: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `work` in one of the slots; the wait for one is part of the caller's time."""

        async def slotted() -> Result:
            async with self._slots:
                return await work()

        return await self._asker.within(ends_at, slotted())

    async def _send_slotted(self, parcel: Parcel, landing: Landing) -> None:
        try:
            await self._slotted(parcel.ends_at, partial(self._send_all, parcel, landing.deliver))
        except MRTRewardError as error:
            if not (passes(error) and landing.end()):
                raise

    async def _send_all(self, parcel: Parcel, deliver: Deliver) -> None:
        """Score one caller's traces, in smaller requests where the server finds one too large."""
        try:
            await self._send(parcel, deliver)
        except RequestRejected as error:
            if error.status != TOO_LARGE or len(parcel.traces) == 1:
                raise
            first, second = parcel.halves()
            num_first = len(first.traces)
            # Together, because one whose engine is away may take all the time that there is.
            outcomes = await asyncio.gather(
                self._send_all(first, deliver),
                self._send_all(second, lambda index, scored, final: deliver(num_first + index, scored, final)),
                return_exceptions=True,
            )
            problems = [outcome for outcome in outcomes if outcome is not None]
            for problem in sorted(problems, key=lambda each: isinstance(each, MRTRewardError) and passes(each)):
                raise problem from None

    async def _send(self, parcel: Parcel, deliver: Deliver) -> None:
        """Score one request's traces; what was lost, or failed while the engine was away, is asked for again."""
        delivery = Delivery(self._http, parcel, deliver)
        await self._asker.until_answered(Ask.of("POST", PATH), parcel.route, delivery.attempt, parcel.ends_at)

    async def _call(self, method: str, path: str, reply: type[Reply], body: bytes | None = None) -> Reply:
        ask = Ask.of(method, path, body)

        async def attempt(url: str, headers: Mapping[str, str]) -> Reply:
            response = await self._http.request(method, url + path, content=ask.content, headers=headers)
            if not response.is_success:
                raise refused(response)
            try:
                return reply.model_validate_json(response.content)
            except ValidationError as error:
                raise not_a(url, reply.__name__, error) from error

        ends_at = self._asker.ends_at()
        route = self._servers.route(ask.headers["Idempotency-Key"])
        return await self._slotted(ends_at, partial(self._asker.until_answered, ask, route, attempt, ends_at))


async def all_or_none(works: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """All results; the first failure stops the rest, so that none goes on without an owner."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
