"""What a failed request gets: its status, its reason, and when to come again."""

from __future__ import annotations

import json

import pytest

from mrt_reward.errors import (
    ConfigError,
    DeadlineExceeded,
    Draining,
    GraderError,
    MRTRewardError,
    Overloaded,
    ProverError,
    ProverUnavailable,
    StoreUnavailable,
    TraceError,
    WeightsError,
    WeightsUnsupported,
)
from mrt_reward.server.gate.replies import RequestRefused, error_response, reply_to
from mrt_reward.types import ErrorInfo


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TraceError("no"), 422),
        (Overloaded("no"), 429),
        (Draining("no"), 503),
        (StoreUnavailable("no"), 503),
        (ProverUnavailable("no"), 503),
        (GraderError("no"), 503),
        (DeadlineExceeded("no"), 504),
        (WeightsUnsupported("no"), 501),
        (WeightsError("no"), 422),
        (ProverError("no"), 500),
        (ConfigError("no"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_status(error: MRTRewardError, status: int) -> None:
    assert reply_to(error).status_code == status


def test_who_may_come_again_learns_when_and_who_may_not_is_not() -> None:
    assert reply_to(Overloaded("full", retry_after_s=7.4)).headers["retry-after"] == "7"
    assert reply_to(Draining("soon", retry_after_s=0.2)).headers["retry-after"] == "1"
    assert "retry-after" not in reply_to(TraceError("never")).headers


def test_a_reply_names_kind_code_and_field() -> None:
    reply = reply_to(WeightsError("path: expected a folder", param="path"))
    assert json.loads(bytes(reply.body)) == {
        "error": {
            "message": "path: expected a folder",
            "type": "WeightsError",
            "code": "weights_refused",
            "param": "path",
        }
    }


@pytest.mark.parametrize(("code", "said"), [(None, "invalid_request"), ("unsupported_query", "unsupported_query")])
def test_what_ends_a_request_is_no_error_of_a_trace(code: str | None, said: str) -> None:
    reply = reply_to(TraceError("options.grader: unknown", code=code, param="options.grader"))
    error = json.loads(bytes(reply.body))["error"]
    assert (reply.status_code, error["type"], error["code"], error["param"]) == (
        422,
        "InvalidRequest",
        said,
        "options.grader",
    )


def test_a_refusal_is_an_invalid_request_with_its_own_code() -> None:
    reply = RequestRefused(429, "no room", "overloaded", retry_after_s=2.0).response()
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")
    error = json.loads(bytes(reply.body))["error"]
    assert (error["type"], error["code"], error["message"]) == ("InvalidRequest", "overloaded", "no room")
    assert RequestRefused(413, "too large").response().status_code == 413


def test_a_plain_error_has_no_wait() -> None:
    assert "retry-after" not in error_response(400, ErrorInfo("no", "InvalidRequest", "invalid")).headers
