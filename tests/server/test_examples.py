"""The examples of the contract are true: the server takes each, and answers in the shape that is shown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mrt_reward.server.examples import REPLIES, REQUESTS
from mrt_reward.wire import ProverOut, StatusOut, VersionOut, WeightsRequest
from tests.pins.outputs import openapi
from tests.server.conftest import Live


@pytest.mark.parametrize("path", [path for path in REQUESTS if not path.startswith("/admin")])
async def test_a_request_is_answered(path: str, live: Live) -> None:
    reply = await live.http.post(path, json=REQUESTS[path])
    assert reply.status_code == 200, reply.text
    traces: list[Any] = [reply.json().get("traces"), *reply.json().get("groups", [])]
    assert all(each["error"] is None for group in traces for each in group or ())


def test_bodies_of_other_routes_have_the_shape_that_is_shown() -> None:
    WeightsRequest.model_validate(REQUESTS["/admin/weights"])
    for path in ("/livez", "/readyz", "/admin/cache", "/admin/drain"):
        StatusOut.model_validate(REPLIES[path])
    VersionOut.model_validate(REPLIES["/version"])
    ProverOut.model_validate(REPLIES["/v1/prover"])


async def test_every_field_is_described_and_every_route_has_an_example() -> None:
    for document in json.loads(await asyncio.to_thread(openapi)):
        for name, schema in document["components"]["schemas"].items():
            fields = schema.get("properties", {})
            assert [field for field, message in fields.items() if "description" not in message] == [], name
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                bodies = [operation.get("requestBody", {}), operation["responses"]["200"]]
                contents = [each for body in bodies for each in body.get("content", {}).values()]
                assert any("example" in each for each in contents), (method, path)
