"""When to ask again, and which error an error reply is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from mrt_reward.backoff import retry_after_s, spread_s, wait_s
from mrt_reward.engine_settings import origin_of
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    ErrorInfo,
    GraderError,
    MRTRewardError,
    Overloaded,
    ProverUnavailable,
    RequestRejected,
    ServiceError,
    WireError,
)
from mrt_reward.wire import ErrorBody

UNREACHABLE = "unreachable"
"""Code of a `WireError` without a reply."""

MALFORMED = "malformed_reply"
"""Code of a `WireError` whose reply is not of the contract."""

CANARY_CHANGED = "canary_changed"
"""Code of a `ProverUnavailable` whose server proves nothing until it is started anew, or gets new weights."""

DEFAULT_TRIES = 5

NO_ROUTE = (404, 405, 501)
"""What web servers answer where they have no such route, or none for the method."""

UNAUTHORIZED = 401
HOW_TO_SEND_A_KEY = (
    "a client sends the key that it is given as api_key=…; `mrt-reward score` and trainers send the variable "
    "MRT_REWARD_API_KEY"
)

_BY_CODE: Mapping[str, type[GraderError | ProverUnavailable]] = {
    GraderError.code: GraderError,
    ProverUnavailable.code: ProverUnavailable,
    CANARY_CHANGED: ProverUnavailable,
}
_BY_STATUS: Mapping[int, type[ServiceError]] = {429: Overloaded, 503: Draining, 504: DeadlineExceeded}
_AWAY: Mapping[str, type[Draining | ProverUnavailable]] = {
    kind.__name__: kind for kind in (Draining, ProverUnavailable)
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to ask again: refused connections, lost replies, 5xx, 429, and traces that failed while the engine was away.

    A trace that ends its engine each time is asked for like all others, so these numbers and the time of the call are
    what bounds how often. `RetryPolicy(max_tries=1)` never asks again.

    Attributes:
        max_tries: in all. None is 5, not counting those that a busy server answered with "later": these go on until the
            time of the call is up.
        base_s: scale of the waits; they double, with full jitter, and a longer `Retry-After` wins.
        max_wait_s: longest wait between two tries, in seconds.
        max_tries_away: in all while the server is away, busy or starting, which passes; None is `max_tries`.

    """

    max_tries: int | None = None
    base_s: float = 0.25
    max_wait_s: float = 20.0
    max_tries_away: int | None = None

    def may_retry(self, error: MRTRewardError, num_tries: int) -> bool:
        """Whether to ask again after this many tries that count."""
        return error.retryable and (num_tries < self._most(error) or not self.counts(error))

    def bound(self, error: MRTRewardError, left_s: float) -> str:
        """How often and how long it is asked again, in words."""
        times = f"{self._most(error)} times in all, " if self.counts(error) else ""
        return f"{times}for up to {left_s:g} s"

    def _most(self, error: MRTRewardError) -> int:
        if passes(error) and self.max_tries_away is not None:
            return self.max_tries_away
        return DEFAULT_TRIES if self.max_tries is None else self.max_tries

    def counts(self, error: MRTRewardError) -> bool:
        """Whether a try that ended so is one of `max_tries`."""
        unlimited = self.max_tries is None and self.max_tries_away is None
        return not (unlimited and isinstance(error, Overloaded | Draining | ProverUnavailable))

    def wait_s(self, num_tries: int, least_s: float) -> float:
        """Seconds to wait after this many tries, of which the server said at least `least_s`."""
        return wait_s(num_tries, least_s, self.base_s, self.max_wait_s)

    def spread_s(self, least_s: float) -> float:
        """Seconds more, so that callers whom a busy server refused together do not come back together."""
        return spread_s(least_s, self.max_wait_s)


def passes(error: MRTRewardError) -> bool:
    """Whether the server is away, busy or starting, so that it may answer the same request later."""
    return error.code == UNREACHABLE or isinstance(error, ServiceError | ProverUnavailable)


def is_away(error: MRTRewardError) -> bool:
    """Whether the server can do nothing at present, so that another one should be asked; a busy one can."""
    return error.code == UNREACHABLE or isinstance(error, Draining | ProverUnavailable)


def lasts(error: MRTRewardError) -> bool:
    """Whether the same server would say the same again, however long one waits."""
    return error.code == CANARY_CHANGED


def why_away(failure: ErrorInfo | None) -> Draining | ProverUnavailable | None:
    """The typed error of a trace that its server could not prove at present; None for every other failure."""
    kind = _AWAY.get(failure.type) if failure else None
    if failure is None or kind is None:
        return None
    error = kind(failure.message)
    error.code, error.param = failure.code, failure.param
    return error


class Refused(Exception):
    """A reply that is an error, or no reply, or one in which something is missing.

    Args:
        error: that callers get.
        wait_s: how long the server asked to wait.
        answered: something else of the request was answered in the same reply.

    """

    def __init__(self, error: MRTRewardError, wait_s: float = 0.0, *, answered: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s
        self.answered = answered


def refused(reply: httpx.Response) -> Refused:
    """The typed error of an error reply, of which the body was read."""
    status, headers = reply.status_code, reply.headers
    try:
        info = ErrorBody.model_validate_json(reply.content).error
        message, code, param = info.message, info.code, info.param
    except ValidationError:
        if status in NO_ROUTE or reply.is_redirect:
            return Refused(_no_server_of_ours(reply))
        message, code, param = reply.content[:500].decode(errors="replace"), "", None
    message = f"{message} (HTTP {status})" + (f": {HOW_TO_SEND_A_KEY}" if status == UNAUTHORIZED else "")
    least_s = retry_after_s(headers.get("retry-after"))
    if code in _BY_CODE:
        return Refused(_BY_CODE[code](message, code=code, param=param), least_s)
    if status in _BY_STATUS:
        return Refused(_BY_STATUS[status](message, retry_after_s=least_s or 1.0), least_s)
    if 400 <= status < 500:
        rejected = RequestRejected(message, code=code or None, param=param)
        rejected.status = status
        return Refused(rejected, least_s)
    return Refused(WireError(message, code=code or None, param=param), least_s)


def _no_server_of_ours(reply: httpx.Response) -> RequestRejected:
    """Of a reply that says, not in our words, that there is no such route."""
    request, by, to = reply.request, reply.headers.get("server", ""), reply.headers.get("location", "")
    came = f"HTTP {reply.status_code}" + (f" to {to[:200]}" if to else "") + (f" from {by[:60]!r}" if by else "")
    error = RequestRejected(
        f"expected an mrt-reward server at {origin_of(str(request.url))}, which answers {request.method} "
        f"{request.url.path}, got {came}: check the URL, or start a server with `mrt-reward serve`"
    )
    error.status = reply.status_code
    return error


def unreachable(url: str, error: httpx.HTTPError) -> Refused:
    """The typed error of a request that got no reply."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        message = f"no server at {url} ({error}): start one with `mrt-reward serve`, or check the URL"
        return Refused(WireError(message, code=UNREACHABLE))
    return Refused(WireError(f"{url}: the reply was lost: {type(error).__name__}: {error}", code=UNREACHABLE))
