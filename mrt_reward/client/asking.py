"""One request, asked again, here or elsewhere, until it is answered, cannot be, or the caller's time is up."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx

from mrt_reward.client.retry import Refused, RetryPolicy, is_away, lasts, unreachable
from mrt_reward.client.servers import Route, Servers
from mrt_reward.errors import DeadlineExceeded, RequestRejected
from mrt_reward.wire import MAX_DEADLINE_MS

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

Attempt = Callable[[str, Mapping[str, str]], Awaitable[Result]]
"""Sends a request once, to the server of this URL, with these headers."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, the same at each try."""

    method: str
    path: str
    content: bytes | None
    headers: Mapping[str, str]

    @classmethod
    def of(cls, method: str, path: str, content: bytes | None = None, **headers: str) -> Ask:
        """A request under a key of its own, so that it is scored once however often it is asked."""
        sent = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        return cls(method, path, content, {**sent, **headers})


@dataclass(frozen=True, slots=True)
class Asker:
    """How servers are asked.

    Attributes:
        http: connections to them.
        servers: which of them.
        timeout_s: longest time for one call.
        retry: when to ask again.

    """

    http: httpx.AsyncClient
    servers: Servers
    timeout_s: float
    retry: RetryPolicy

    def ends_at(self) -> float:
        """When the time of a call is up that begins now, in the event loop's time."""
        return asyncio.get_running_loop().time() + self.timeout_s

    async def within(self, ends_at: float, work: Awaitable[Result]) -> Result:
        """The result of `work`.

        Raises:
            DeadlineExceeded: the time was up first.

        """
        try:
            return await asyncio.wait_for(work, max(0.0, ends_at - asyncio.get_running_loop().time()))
        except (TimeoutError, asyncio.TimeoutError):
            raise self._late(str(self.servers)) from None

    async def until_answered(self, ask: Ask, route: Route, attempt: Attempt[Result], ends_at: float) -> Result:
        """Try until it works, cannot work, or the time is up. A server that is away is left for the next one at once.

        Args:
            ask: the request.
            route: the servers, in the order in which they are to be tried.
            attempt: sends it once.
            ends_at: when the time is up.

        Raises:
            MRTRewardError: of the last try.

        """
        loop = asyncio.get_running_loop()
        num_tries = num_counted = 0
        warned = False
        while True:
            index = self.servers.chosen(route)
            outcome = await self._tried(self.servers.urls[index], ask, attempt, ends_at - loop.time())
            if not isinstance(outcome, Refused):
                self.servers.answered(index)
                return outcome
            num_tries += 1
            num_counted += self.retry.counts(outcome.error)
            left_s = ends_at - loop.time()
            # A server that names the time knows it; to double it would only make those wait longest who wait long.
            num_doublings = num_tries if self.retry.counts(outcome.error) or not outcome.wait_s else 0
            wait_s = self.retry.wait_s(num_doublings, outcome.wait_s)
            if not self.retry.may_retry(outcome.error, num_counted):
                raise outcome.error
            if is_away(outcome.error):
                # One that answered other traces of the request is asked again, and goes on for everybody else.
                stays = outcome.answered and not lasts(outcome.error)
                is_news = stays or self.servers.leave_out(index, outcome.wait_s)
                moves = not stays and self.servers.is_up(self.servers.chosen(route))
                if lasts(outcome.error) and not moves:
                    raise outcome.error
                if is_news and not warned:
                    warned = True
                    url, bound = self.servers.urls[index], self.retry.bound(outcome.error, round(left_s, 1))
                    logger.warning("mrt: %s is away; asking again, or elsewhere, %s: %s", url, bound, outcome)
                if moves:
                    continue
            if wait_s >= left_s:
                raise outcome.error
            spread_s = self.retry.spread_s(outcome.wait_s)
            await asyncio.sleep(wait_s + spread_s if wait_s + spread_s < left_s else wait_s)

    async def _tried(self, url: str, ask: Ask, attempt: Attempt[Result], left_s: float) -> Result | Refused:
        headers = {**ask.headers, "X-Deadline-Ms": str(max(1, int(min(MAX_DEADLINE_MS, left_s * 1000))))}
        try:
            return await asyncio.wait_for(attempt(url, headers), left_s)
        except Refused as error:
            return error
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeoutError, asyncio.TimeoutError):
            return Refused(self._late(url))
        except httpx.HTTPError as error:
            return unreachable(url, error)
        except httpx.InvalidURL as error:
            return Refused(RequestRejected(f"{url} is no URL: {error}"))
        except RuntimeError:
            if not self.http.is_closed:
                raise
            return Refused(RequestRejected("the client was closed"))

    def _late(self, url: str) -> DeadlineExceeded:
        return DeadlineExceeded(f"no reply from {url} within {self.timeout_s:g} s")
