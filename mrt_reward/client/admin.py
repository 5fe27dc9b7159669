"""The admin port, for operators, and for trainers whose prover follows the policy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from http import HTTPStatus

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.certificates import certificates
from mrt_reward.client.retry import MALFORMED, refused, unreachable
from mrt_reward.errors import DeadlineExceeded, WireError
from mrt_reward.wire.status import DrainRequest, WeightsRequest, WeightsResponse

ASK_S = 30.0
"""A server that still loads says so after this time, and is asked again."""


def load_weights(
    url: str,
    weights: str | WeightsRequest,
    *,
    key: str | None = None,
    timeout_s: float | None = None,
    transport: httpx.BaseTransport | None = None,
) -> str:
    """Serve these weights from now on; the prover's new version.

    Args:
        url: of the admin port, such as `http://127.0.0.1:8001`.
        weights: their folder, absolute or below the server's root, or with what else is to be said of them: their kind,
            and a canary that the server compares its own answer with.
        key: the admin key.
        timeout_s: longest time for loading; None waits as long as the server says that it loads.
        transport: for tests, `httpx.MockTransport`.

    Raises:
        DeadlineExceeded: they are still being loaded, and will be served once they are there.
        MRTRewardError: they were not taken, and the old ones go on.

    """
    asked = WeightsRequest(path=weights) if isinstance(weights, str) else weights
    until = math.inf if timeout_s is None else time.monotonic() + timeout_s
    with _http(url, key, 2 * ASK_S, transport) as http:
        while (reply := _load_asked(http, asked, until - time.monotonic())) is None:
            if time.monotonic() >= until:
                raise DeadlineExceeded(f"{url} still loads {asked.path} after {timeout_s:g} s, and goes on")
    try:
        return WeightsResponse.model_validate_json(reply.content).version
    except ValidationError as error:
        raise WireError(f"the reply of {url} is no WeightsResponse: {error}", code=MALFORMED) from error


def set_draining(
    url: str,
    draining: bool,
    *,
    key: str | None = None,
    timeout_s: float = 60.0,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Let a server refuse new work and finish what it has, or take that back.

    Args:
        url: of the admin port, such as `http://127.0.0.1:8001`.
        draining: True returns once nothing is in flight; False takes new work again.
        key: the admin key.
        timeout_s: longest time for what is in flight.
        transport: for tests, `httpx.MockTransport`.

    Raises:
        MRTRewardError: it did not finish in time, or is shutting down.

    """
    with _http(url, key, timeout_s, transport) as http:
        _asked(http, "drain", DrainRequest(draining=draining))


def _load_asked(http: httpx.Client, asked: WeightsRequest, seconds_left: float) -> httpx.Response | None:
    """The reply; None where the server still loads. Servers of earlier versions say that by a deadline that is over."""
    deadline_ms = str(max(1, int(1000 * min(ASK_S, seconds_left))))
    try:
        reply = _asked(http, "weights", asked, {"X-Deadline-Ms": deadline_ms})
    except DeadlineExceeded:
        return None
    return None if reply.status_code == HTTPStatus.ACCEPTED else reply


def _http(url: str, key: str | None, timeout_s: float, transport: httpx.BaseTransport | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(
        base_url=f"{url.rstrip('/')}/admin/",
        headers=headers,
        timeout=timeout_s,
        transport=transport,
        verify=certificates(),
    )


def _asked(http: httpx.Client, path: str, body: BaseModel, headers: Mapping[str, str] | None = None) -> httpx.Response:
    try:
        reply = http.post(path, json=body.model_dump(mode="json", exclude_none=True), headers=headers)
    except httpx.HTTPError as error:
        raise unreachable(str(http.base_url), error).error from error
    if not reply.is_success:
        raise refused(reply).error
    return reply
