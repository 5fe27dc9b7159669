"""The OpenAPI document is true: schemathesis finds no 5xx and no violation on the live server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis

from tests.server.conftest import live_server, threaded_server
from tests.server.contract import OPERATIONS, statuses_of


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
    statuses = statuses_of(url, method, path, num_examples=20)
    assert sum(statuses.values()) >= 1
    assert not any(status >= 500 for status in statuses)


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
