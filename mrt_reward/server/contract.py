"""The OpenAPI document, completed with what only a running server knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI

from mrt_reward.server.errors import DOCUMENTED
from mrt_reward.server.gate.keys import OPEN_PATHS
from mrt_reward.wire import StreamedTrace

NDJSON = "application/x-ndjson"

WORK = (400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504)
"""What a route that scores may answer besides 200."""

LINES = {
    "description": "One `StreamedTrace` a line, in the order of finishing.",
    "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/StreamedTrace"}}},
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error replies of a route, for its `responses`."""
    return {status: DOCUMENTED[status] for status in statuses}


def completed_openapi(app: FastAPI, graders: Sequence[str], *, with_key: bool) -> Callable[[], dict[str, Any]]:
    """Names of the graders that there are, the lines of a stream, and the key that is asked for."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            _complete_schemas(document["components"]["schemas"], graders)
            for path, operations in document["paths"].items():
                for operation in operations.values():
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
    for tagged in ("BalancedSegmenter", "MarkerSegmenter", "Likelihood"):
        # Their tag has a default in Python; on the wire it is what tells the kinds apart.
        schemas[tagged]["required"] = ["kind"]


def _complete_operation(operation: dict[str, Any], *, with_key: bool) -> None:
    for parameter in operation.get("parameters", []):
        # A header is there or not; it is never null.
        parameter["schema"] = parameter["schema"]["anyOf"][0]
    if with_key:
        operation["security"] = [{"key": []}]
