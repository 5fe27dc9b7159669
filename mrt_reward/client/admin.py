"""The admin port, for operators, and for trainers whose prover follows the policy."""

from __future__ import annotations

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.client.retry import MALFORMED, refused, unreachable
from mrt_reward.errors import WireError
from mrt_reward.wire.routes import DrainRequest, WeightsRequest, WeightsResponse


def load_weights(
    url: str,
    path: str,
    *,
    key: str | None = None,
    timeout_s: float = 600.0,
    transport: httpx.BaseTransport | None = None,
) -> str:
    """Serve these weights from now on; the prover's new version.

    Args:
        url: of the admin port, such as `http://127.0.0.1:8001`.
        path: folder, absolute or below the server's root.
        key: the admin key.
        timeout_s: longest time for loading.
        transport: for tests, `httpx.MockTransport`.

    Raises:
        MRTRewardError: they were not taken, and the old ones go on.

    """
    with _http(url, key, timeout_s, transport) as http:
        reply = _asked(http, "weights", WeightsRequest(path=path))
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


def _http(url: str, key: str | None, timeout_s: float, transport: httpx.BaseTransport | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=f"{url.rstrip('/')}/admin/", headers=headers, timeout=timeout_s, transport=transport)


def _asked(http: httpx.Client, path: str, body: BaseModel) -> httpx.Response:
    try:
        reply = http.post(path, json=body.model_dump(mode="json"))
    except httpx.HTTPError as error:
        raise unreachable(str(http.base_url), error).error from error
    if not reply.is_success:
        raise refused(reply.status_code, reply.headers, reply.content).error
    return reply
