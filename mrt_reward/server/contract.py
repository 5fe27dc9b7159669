"""The OpenAPI document, completed with what only a running server knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI

from mrt_reward.docstrings import attributes_of
from mrt_reward.server.errors import DOCUMENTED
from mrt_reward.server.examples import REPLIES, REQUESTS
from mrt_reward.server.gate.keys import OPEN_PATHS
from mrt_reward.wire import StreamedTrace

NDJSON = "application/x-ndjson"

WORK = (400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504)
"""What a route that scores may answer besides 200."""

LINES = {
    "description": f"A `ScoreResponse`; with `Accept: {NDJSON}` one `StreamedTrace` a line, in the order of finishing.",
    "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/StreamedTrace"}}},
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error replies of a route, for its `responses`.

    The first brings the model into the document, and the others name it: FastAPI builds a validator for each model that
    it is given, and those of errors alone took longer than the rest of the application.
    """
    first, *others = statuses
    return {first: DOCUMENTED[first], **{status: _naming_its_schema(DOCUMENTED[status]) for status in others}}


def _naming_its_schema(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply whose model is in the document already."""
    schema = {"$ref": f"#/components/schemas/{reply['model'].__name__}"}
    return {
        **{name: value for name, value in reply.items() if name != "model"},
        "content": {"application/json": {"schema": schema}},
    }


def completed_openapi(app: FastAPI, graders: Sequence[str] = (), *, with_key: bool) -> Callable[[], dict[str, Any]]:
    """The document with what each field means, an example a route, the graders that there are, and the key.

    Args:
        app: whose document it is.
        graders: names of those that there are; none for an application that does not score.
        with_key: whether a key is asked for.

    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document["components"]["schemas"]
            if graders:
                _complete_schemas(schemas, graders)
            for schema in schemas.values():
                _describe(schema)
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _give_example(operation, path)
                    _complete_operation(operation, with_key=with_key and path not in OPEN_PATHS)
            if with_key:
                document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def _complete_schemas(schemas: dict[str, Any], graders: Sequence[str]) -> None:
    # Records that come in as well are named apart by FastAPI, because a reply lacks nothing.
    refs = "#/components/schemas/{model}-Output"
    lines = StreamedTrace.model_json_schema(mode="serialization", ref_template=refs)
    lines.pop("$defs", None)
    schemas["StreamedTrace"] = lines
    grader = schemas["ScoreOptions"]["properties"]["grader"]
    grader["anyOf"] = [{"type": "string", "enum": list(graders)}, {"type": "null"}]
    for schema in schemas.values():
        if "const" in schema.get("properties", {}).get("kind", {}):
            # A tag with a default in Python: on the wire it is what tells the kinds apart.
            schema["required"] = sorted({"kind", *schema.get("required", ())})


def _describe(schema: dict[str, Any]) -> None:
    """Move what the docstring of a record says of a field to the field."""
    if "description" not in schema:
        return
    schema["description"], described = attributes_of(schema["description"])
    for name, field in schema.get("properties", {}).items():
        if name in described:
            field.setdefault("description", described[name])
        elif "const" in field:
            field.setdefault("description", "Names the kind of this record.")


def _give_example(operation: dict[str, Any], path: str) -> None:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and path in REQUESTS:
        body["example"] = REQUESTS[path]
    elif path in REPLIES:
        for content in operation["responses"]["200"].get("content", {}).values():
            content["example"] = REPLIES[path]


def _complete_operation(operation: dict[str, Any], *, with_key: bool) -> None:
    for parameter in operation.get("parameters", []):
        # A header is there or not; it is never null.
        parameter["schema"] = parameter["schema"]["anyOf"][0]
    if with_key:
        operation["security"] = [{"key": []}]
