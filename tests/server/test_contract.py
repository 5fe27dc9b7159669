"""The OpenAPI document is true: schemathesis finds no 5xx and no violation on the live server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.server.conftest import live_server, threaded_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """In a thread of its own, since schemathesis is synchronous."""
    with threaded_server() as served:
        yield served


OPERATIONS = [
    ("POST", "/v1/score"),
    ("POST", "/v1/advantages"),
    ("POST", "/v1/episodes"),
    ("POST", "/get_reward"),
    ("GET", "/v1/prover"),
    ("GET", "/v1/overview"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/version"),
]


def test_every_operation_is_exercised(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = [cast("Any", result).ok() for result in schema.get_all_operations()]
    assert sorted((operation.method.upper(), operation.path) for operation in found) == sorted(OPERATIONS)


def _says_all(path: str, body: object) -> bool:
    """Whether the schema tells all that this body must fulfil.

    It cannot say that lists are equally long, that a query begins with its prompt, how many traces all groups hold, or
    which options of credit need others, need to know of every trace where it ends, or need values of another kind.
    """
    held = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    per_token, asked = bool(held.get("per_token")), held.get("credit")
    credit = cast("dict[str, object]", asked) if isinstance(asked, dict) else {}
    needs = (
        credit.get("credit") == "anytime"
        or credit.get("baseline") in ("rate", "leave_one_out")
        or credit.get("truncated", "zero") != "zero"
        or credit.get("charge_closing")
        or credit.get("pay_ending")
        or credit.get("progress", "probability") != "probability"
        or credit.get("paid_values", "raw") != "raw"
    )
    groups = cast("list[Any]", held.get("groups")) if isinstance(held.get("groups"), list) else []
    spare = any(_length(group, "token_ends") > _length(group, "traces") for group in groups)
    return path != "/get_reward" and not per_token and not needs and not spare and not _has_rounds(groups)


def _has_rounds(body: object) -> bool:
    """Whether a value in a body says that its answers were given in rounds, so that it may not be paid raw."""
    if isinstance(body, dict):
        held = cast("dict[str, object]", body)
        return held.get("adaptive") is True or any(map(_has_rounds, held.values()))
    return isinstance(body, list) and any(map(_has_rounds, cast("list[object]", body)))


def _length(group: object, name: str) -> int:
    held = cast("dict[str, object]", group).get(name) if isinstance(group, dict) else None
    return len(cast("list[object]", held)) if isinstance(held, list) else 0


def _is_valid(document: dict[str, Any], path: str, body: object) -> bool:
    operation = document["paths"][path].get("post")
    if operation is None:
        return False
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    # A trace that breaks its schema gets an error of its own: the request is sound if all else is.
    lenient = {**document["components"]["schemas"], "Trace": {}}
    group = json.loads(json.dumps(lenient["Group"]))
    for name in ("traces", "token_ends"):
        (group["properties"][name].get("anyOf") or [group["properties"][name]])[0]["items"] = {}
    components = {"schemas": {**lenient, "Group": group}}
    try:
        return jsonschema_rs.is_valid({**schema, "components": components}, body)
    except ValueError:
        return False  # No JSON at all.


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_keeps_its_word(url: str, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]
    document = httpx.get(f"{url}/openapi.json").json()
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if method == "POST" else [GenerationMode.POSITIVE]

    for mode in modes:

        @given(case=operation.as_strategy(generation_mode=cast("Any", mode)))
        @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=slow)
        def exercise(case: schemathesis.Case[Any]) -> None:
            # Whether a deadline of a millisecond is met, in which case the reply is no 504, is the machine's affair.
            for name in [name for name in case.headers or {} if name.lower() == "x-deadline-ms"]:
                del case.headers[name]
            excluded = [] if _says_all(path, case.body) else [positive_data_acceptance]
            # A field that is broken as one kind of a union may be sound as another.
            excluded += [negative_data_rejection] if _is_valid(document, path, case.body) else []
            case.call_and_validate(excluded_checks=excluded)

        exercise()


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
