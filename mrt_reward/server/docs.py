"""The contract as a page to read: no scripts, and nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any, cast

VIEWPORT = "<meta name=viewport content='width=device-width'>"
STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere}pre.text{font:inherit}ul{padding-left:1.2em}"
    "td{overflow-wrap:anywhere;min-width:5em}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2em .8em .2em 0}"
    "tr+tr{border-top:1px solid #8884}"
)


def page(document: dict[str, Any]) -> str:
    """All operations of an OpenAPI document with an example each, and all records with what their fields mean."""
    info = document["info"]
    parts = [
        f"<!doctype html><meta charset=utf-8>{VIEWPORT}<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        "<p>The whole contract, for tools: <a href=openapi.json>openapi.json</a>. <a href=#records>Records</a></p>",
    ]
    for path, operations in cast("dict[str, dict[str, Any]]", document["paths"]).items():
        parts += [_operation(path, method, operation) for method, operation in operations.items()]
    parts.append("<h2 id=records>Records</h2>")
    parts += [_record(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    takes = _kind(content.get("schema", {}))
    answers = "".join(
        f"<li><code>{escape(status)}</code> {_reply(reply)}</li>" for status, reply in operation["responses"].items()
    )
    shown = _example(content) + "".join(
        _example(each) for each in operation["responses"].get("200", {}).get("content", {}).values()
    )
    text = prose(operation.get("description", ""))
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><pre class=text>{text}</pre>"
        + (f"<p>Takes {takes}</p>" if content else "")
        + f"{shown}<ul>{answers}</ul>"
    )


def _reply(reply: Mapping[str, Any]) -> str:
    """What a status means; where FastAPI has no more to say than that it went well, the record that comes."""
    if reply["description"] != "Successful Response":
        return prose(reply["description"])
    schema = reply.get("content", {}).get("application/json", {}).get("schema", {})
    return _kind(schema) if "$ref" in schema else "done"


def prose(text: str) -> str:
    """A description, whose lines end where the page does, and whose names are code."""
    joined = re.sub(r"(?<=\S)\n(?=[^\s\-*])", " ", text)
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(joined))


def _example(content: Mapping[str, Any]) -> str:
    if "example" not in content:
        return ""
    spec = content["example"]
    text = spec if isinstance(spec, str) else json.dumps(spec, indent=1, ensure_ascii=False)
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _record(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_kind(spec)}{'' if field in required else _default(spec)}</td>"
        f"<td>{prose(spec.get('description', ''))}</td></tr>"
        for field, spec in schema.get("properties", {}).items()
    )
    text = "\n".join(filter(None, [schema.get("description", ""), ", ".join(map(str, schema.get("enum", ())))]))
    return (
        f"<h3 id={_anchor(name)}><code>{escape(name)}</code></h3><pre class=text>{prose(text)}</pre>"
        f"<table>{rows}</table>"
    )


def _anchor(name: str) -> str:
    return escape(f"record-{name}", quote=True)


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with links to records."""
    if ref := str(schema.get("$ref", "")).rpartition("/")[2]:
        return f"<a href=#{_anchor(ref)}><code>{escape(ref)}</code></a>"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[union]))
    if "enum" in schema or "const" in schema:
        return escape(", ".join(json.dumps(each) for each in schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "any")))


def _default(schema: Mapping[str, Any]) -> str:
    shown = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else ""
    return f"; default {escape(shown)}" if 0 < len(shown) <= 40 else "; optional"
