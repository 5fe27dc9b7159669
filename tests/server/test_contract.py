"""The OpenAPI document is true: schemathesis finds no 5xx and no violation on the live server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis

from tests.server.conftest import TRACE, free_port, live_server, threaded_server
from tests.server.contract import ADMIN_OPERATIONS, OPERATIONS, statuses_of

NUM_EXAMPLES = 6
"""Sound ones, and as many broken ones; `tests/faults` asks more."""


@pytest.fixture(scope="module")
def admin() -> Iterator[tuple[str, str]]:
    """URLs of the public port and the admin port of a server that nobody else asks."""
    port = free_port()
    with threaded_server(admin_port=port) as served:
        yield served, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """In a thread of its own, since schemathesis is synchronous."""
    with threaded_server() as served:
        yield served


def test_every_operation_is_exercised(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = [cast("Any", result).ok() for result in schema.get_all_operations()]
    assert sorted((operation.method.upper(), operation.path) for operation in found) == sorted(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_keeps_its_word(url: str, method: str, path: str) -> None:
    statuses = statuses_of(url, method, path, num_examples=NUM_EXAMPLES)
    assert sum(statuses.values()) >= 1
    assert not any(status >= 500 for status in statuses)


def test_every_operation_of_the_admin_port_is_exercised(admin: tuple[str, str]) -> None:
    schema = schemathesis.openapi.from_url(f"{admin[1]}/openapi.json")
    found = [cast("Any", result).ok() for result in schema.get_all_operations()]
    assert sorted((operation.method.upper(), operation.path) for operation in found) == sorted(ADMIN_OPERATIONS)


@pytest.mark.parametrize(("method", "path"), ADMIN_OPERATIONS)
def test_every_operation_of_the_admin_port_keeps_its_word_and_leaves_a_server_that_can_score(
    admin: tuple[str, str], method: str, path: str
) -> None:
    public, port = admin
    statuses = statuses_of(port, method, path, num_examples=NUM_EXAMPLES)
    assert sum(statuses.values()) >= 1
    assert not any(status >= 500 for status in statuses)
    taken_back = httpx.delete(f"{port}/admin/drain", headers={"Content-Type": "application/json"})
    assert taken_back.status_code == 200
    assert httpx.post(f"{public}/v1/score", json={"traces": [TRACE]}).status_code == 200


async def test_the_document_says_what_only_this_server_knows() -> None:
    async with live_server(api_key="k") as live:
        document = (await live.http.get("/openapi.json", headers={"authorization": "Bearer k"})).json()
        again = (await live.http.get("/openapi.json", headers={"authorization": "Bearer k"})).json()
    assert document == again
    assert document["components"]["schemas"]["ScoreOptions"]["properties"]["grader"]["anyOf"][0]["enum"] == ["word"]
    assert "application/x-ndjson" in document["paths"]["/v1/score"]["post"]["responses"]["200"]["content"]
    assert document["paths"]["/v1/score"]["post"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/livez"]["get"]


def _refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in cast("dict[str, object]", node).items():
            if name == "$ref":
                yield cast("str", value)
            yield from _refs(value)
    elif isinstance(node, list):
        for each in cast("list[object]", node):
            yield from _refs(each)


def test_every_schema_that_the_document_refers_to_is_there(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    found = set(_refs(document))
    assert "#/components/schemas/ScoredTrace-Output" in found
    assert found <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
