"""What schemathesis asks of each operation, and what an OpenAPI document cannot say of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, cast

import httpx
import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core import NOT_SET
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

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

ADMIN_OPERATIONS = [
    ("POST", "/admin/drain"),
    ("DELETE", "/admin/drain"),
    ("DELETE", "/admin/cache"),
    ("POST", "/admin/weights"),
]
"""They have a port and a document of their own, and change what the server does."""


def statuses_of(url: str, method: str, path: str, *, num_examples: int) -> Counter[int]:
    """Ask one operation, with sound bodies and with broken ones; `schemathesis.errors` where it breaks its word.

    Args:
        url: of a live server.
        method: of the operation.
        path: of the operation.
        num_examples: of each kind; fewer where there are no more.

    """
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]
    document = httpx.get(f"{url}/openapi.json").json()
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if method == "POST" else [GenerationMode.POSITIVE]
    statuses = Counter[int]()

    for mode in modes:

        @given(case=operation.as_strategy(generation_mode=cast("Any", mode)))
        @settings(max_examples=num_examples, deadline=None, database=None, derandomize=True, suppress_health_check=slow)
        def exercise(case: schemathesis.Case[Any]) -> None:
            # Whether a deadline of a millisecond is met, in which case the reply is no 504, is the machine's affair.
            for name in [name for name in case.headers or {} if name.lower() == "x-deadline-ms"]:
                del case.headers[name]
            excluded = [] if _says_all(path, case.body) else [positive_data_acceptance]
            # A field that is broken as one kind of a union may be sound as another.
            excluded += [negative_data_rejection] if _is_valid(document, path, case.body) else []
            # Asked of every request that changes something; where there is no body, schemathesis sends none.
            bare = method != "GET" and case.body is NOT_SET
            response = case.call(headers={"Content-Type": "application/json"} if bare else {})
            # Broken by being too large: which schemathesis takes for no refusal.
            excluded += [negative_data_rejection] if response.status_code == 413 else []
            case.validate_response(response, excluded_checks=excluded)
            statuses[response.status_code] += 1

        exercise()
    return statuses


def _says_all(path: str, body: object) -> bool:
    """Whether the schema tells all that this body must fulfil.

    It cannot say which folders of weights there are, that lists are equally long, that a query begins with its prompt,
    how many traces all groups hold, that the longest episode is twice the shortest, or which options of credit need
    others, need to know of every trace where it ends, or need values of another kind.
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
        or credit.get("length_norm", "none") != "none"
    )
    groups = cast("list[Any]", held.get("groups")) if isinstance(held.get("groups"), list) else []
    spare = any(_length(group, "token_ends") > _length(group, "traces") for group in groups)
    bounded = _has_lengths(held.get("options"))
    return path not in {"/get_reward", "/admin/weights"} and not (
        per_token or needs or spare or bounded or _has_rounds(groups)
    )


def _has_lengths(options: object) -> bool:
    """Whether options give a least or a greatest length of an episode."""
    segmenter = cast("dict[str, object]", options).get("segmenter") if isinstance(options, dict) else None
    return isinstance(segmenter, dict) and bool(
        {"min_chars", "max_chars"} & cast("dict[str, object]", segmenter).keys()
    )


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
    if "Group" in lenient:
        group = lenient["Group"] = json.loads(json.dumps(lenient["Group"]))
        for name in ("traces", "token_ends"):
            (group["properties"][name].get("anyOf") or [group["properties"][name]])[0]["items"] = {}
    components = {"schemas": lenient}
    try:
        return jsonschema_rs.is_valid({**schema, "components": components}, body)
    except ValueError:
        return False  # No JSON at all.
