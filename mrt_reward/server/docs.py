"""The contract as a page to read: no scripts, and nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any, cast

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:50em;margin:2em auto;padding:0 1em}pre{white-space:pre-wrap;font:inherit}"
)


def page(document: dict[str, Any]) -> str:
    """All operations of an OpenAPI document, with what they take and answer."""
    info = document["info"]
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        "<p>The whole contract, for tools: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, operations in cast("dict[str, dict[str, Any]]", document["paths"]).items():
        parts += [_operation(path, method, operation) for method, operation in operations.items()]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    takes = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
    answers = "".join(
        f"<li><code>{escape(status)}</code> {escape(reply['description'])}</li>"
        for status, reply in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><pre>{escape(operation.get('description', ''))}</pre>"
        + (f"<p>Takes <code>{escape(takes)}</code>.</p>" if takes else "")
        + f"<ul>{answers}</ul>"
    )
