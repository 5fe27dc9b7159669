"""When to ask again, and which error an error reply is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from mrt_reward.backoff import Backoff, told_wait_s
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
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

_BY_CODE: Mapping[str, type[MRTRewardError]] = {kind.code: kind for kind in (GraderError, ProverUnavailable)}
_BY_STATUS: Mapping[int, type[ServiceError]] = {429: Overloaded, 503: Draining, 504: DeadlineExceeded}


@dataclass(frozen=True, slots=True)
class RetryPolicy(Backoff):
    """When to ask again: refused connections, lost replies, 5xx, 429.

    Attributes:
        max_tries: in all.
        base_s: scale of the waits; they double, with full jitter, and a longer `Retry-After` wins.
        max_wait_s: longest wait.
        max_tries_away: in all while the server is away, busy or starting, which passes; None is `max_tries`.

    """

    max_tries_away: int | None = None

    def may_retry(self, error: MRTRewardError, num_tries: int) -> bool:
        """Whether to ask again after this many tries."""
        away = error.code == UNREACHABLE or isinstance(error, ServiceError | ProverUnavailable)
        most = self.max_tries_away if away and self.max_tries_away is not None else self.max_tries
        return error.retryable and num_tries < most


class Refused(Exception):
    """A reply that is an error, or no reply: what callers are told, and how long the server asked to wait."""

    def __init__(self, error: MRTRewardError, wait_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


def refused(status: int, headers: httpx.Headers, body: bytes) -> Refused:
    """The typed error of an error reply."""
    try:
        info = ErrorBody.model_validate_json(body).error
        message, code, param = info.message, info.code, info.param
    except ValidationError:
        message, code, param = body[:500].decode(errors="replace"), "", None
    message = f"{message} (HTTP {status})"
    wait_s = told_wait_s(headers.get("retry-after"))
    if code in _BY_CODE:
        return Refused(_BY_CODE[code](message, param=param), wait_s)
    if status in _BY_STATUS:
        return Refused(_BY_STATUS[status](message, retry_after_s=wait_s or 1.0), wait_s)
    kind = RequestRejected if 400 <= status < 500 else WireError
    return Refused(kind(message, code=code or None, param=param), wait_s)


def unreachable(url: str, error: httpx.HTTPError) -> Refused:
    """The typed error of a request that got no reply."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        told = f"no server at {url} ({error}): start one with `mrt-reward serve`, or check the URL"
        return Refused(WireError(told, code=UNREACHABLE))
    return Refused(WireError(f"{url}: the reply was lost: {type(error).__name__}: {error}", code=UNREACHABLE))
