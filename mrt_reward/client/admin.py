"""The admin port, for trainers whose prover follows the policy."""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from mrt_reward.client.retry import MALFORMED, refused, unreachable
from mrt_reward.errors import WireError
from mrt_reward.wire.routes import WeightsRequest, WeightsResponse


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
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = WeightsRequest(path=path).model_dump(mode="json")
    try:
        with httpx.Client(timeout=timeout_s, transport=transport) as http:
            reply = http.post(f"{url.rstrip('/')}/admin/weights", json=body, headers=headers)
    except httpx.HTTPError as error:
        raise unreachable(url, error).error from error
    if not reply.is_success:
        raise refused(reply.status_code, reply.headers, reply.content).error
    try:
        return WeightsResponse.model_validate_json(reply.content).version
    except ValidationError as error:
        raise WireError(f"the reply of {url} is no WeightsResponse: {error}", code=MALFORMED) from error
