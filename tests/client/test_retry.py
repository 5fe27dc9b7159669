"""Which error an error reply is, and whether and when to ask again."""

from __future__ import annotations

import json

import httpx
import pytest

from mrt_reward.client.retry import UNREACHABLE, RetryPolicy, refused, unreachable
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    GraderError,
    MRTRewardError,
    Overloaded,
    ProverUnavailable,
    RequestRejected,
    ServiceError,
    WireError,
)


def test_busy_is_waited_out_and_the_rest_is_tried_five_times() -> None:
    policy = RetryPolicy()
    for busy in (Overloaded("m"), Draining("m"), ProverUnavailable("m")):
        assert not policy.counts(busy)
        assert policy.may_retry(busy, 1000)
    for lost in (WireError("m"), DeadlineExceeded("m")):
        assert policy.counts(lost)
        assert policy.may_retry(lost, 4)
        assert not policy.may_retry(lost, 5)
    few = RetryPolicy(max_tries=2)
    assert few.counts(Overloaded("m"))
    assert not few.may_retry(Overloaded("m"), 2), "whoever names a number gets it"
    assert RetryPolicy().wait_s(100_000, 0.0) <= RetryPolicy().max_wait_s


def test_a_warning_says_how_often_and_how_long_it_is_asked_again() -> None:
    assert RetryPolicy().bound(ProverUnavailable("m"), 60.0) == "for up to 60 s"
    assert RetryPolicy().bound(WireError("m"), 12.5) == "5 times in all, for up to 12.5 s"
    away = RetryPolicy(max_tries=2, max_tries_away=9)
    assert away.bound(ProverUnavailable("m"), 60.0) == "9 times in all, for up to 60 s"


def test_a_server_that_is_away_has_a_number_of_tries_of_its_own() -> None:
    policy = RetryPolicy(max_tries=2, max_tries_away=9)
    gone = unreachable("http://server", httpx.ConnectError("refused")).error
    for away in (gone, Overloaded("m"), ProverUnavailable("m")):
        assert policy.may_retry(away, 8)
        assert not policy.may_retry(away, 9)
    assert not policy.may_retry(GraderError("m"), 2), "a grader that failed is no server that is away"


def test_what_the_caller_did_wrong_is_never_asked_again() -> None:
    assert not RetryPolicy(max_tries=9).may_retry(RequestRejected("m"), 1)


def test_waits_grow_with_jitter_and_heed_the_server() -> None:
    policy = RetryPolicy(base_s=1.0, max_wait_s=4.0)
    assert all(0 <= policy.wait_s(1, 0.0) <= 2.0 for _ in range(50))
    assert policy.wait_s(1, 3.0) == 3.0
    assert policy.wait_s(9, 100.0) == 4.0


def test_who_was_refused_together_does_not_come_back_together() -> None:
    waits = [RetryPolicy().spread_s(4.0) for _ in range(100)]
    assert all(0 <= wait <= 4.0 for wait in waits)
    assert len({round(wait) for wait in waits}) > 2
    assert RetryPolicy().spread_s(0.0) == 0.0


def replied(status: int, headers: httpx.Headers, body: bytes) -> httpx.Response:
    """What was answered to a request for scores."""
    return httpx.Response(status, headers=headers, content=body, request=httpx.Request("POST", "http://host/v1/score"))


def body_of(code: str) -> bytes:
    return json.dumps({"error": {"message": "no", "type": "T", "code": code, "param": "p"}}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "expected_code"),
    [
        (429, "overloaded", Overloaded, "overloaded"),
        (503, "draining", Draining, "draining"),
        (503, "prover_unavailable", ProverUnavailable, "prover_unavailable"),
        (503, "canary_changed", ProverUnavailable, "canary_changed"),
        (500, "grader_failed", GraderError, "grader_failed"),
        (504, "deadline_exceeded", DeadlineExceeded, "deadline_exceeded"),
        (401, "unauthorized", RequestRejected, "unauthorized"),
        (422, "context_length_exceeded", RequestRejected, "context_length_exceeded"),
        (500, "internal_error", WireError, "internal_error"),
    ],
)
def test_an_error_reply_is_the_error_that_the_server_raised(
    status: int, code: str, kind: type[MRTRewardError], expected_code: str
) -> None:
    error = refused(replied(status, httpx.Headers(), body_of(code))).error
    assert type(error) is kind
    assert (str(error).partition(": ")[0], error.code) == (f"no (HTTP {status})", expected_code)
    if isinstance(error, RequestRejected):
        assert (error.status, error.param) == (status, "p")


@pytest.mark.parametrize(
    "body", [b"", b"<html>502 Bad Gateway</html>", b"\xff\xfe", b"[]", b'{"error": "no"}', b"{" * 5000]
)
def test_a_body_that_is_not_of_the_contract_is_shown_and_the_status_decides(body: bytes) -> None:
    gateway = refused(replied(502, httpx.Headers(), body)).error
    assert (type(gateway), gateway.code, gateway.retryable) == (WireError, "wire_error", True)
    assert str(gateway) == body[:500].decode(errors="replace") + " (HTTP 502)"
    missing = refused(replied(404, httpx.Headers(), body)).error
    assert (type(missing), missing.code, missing.retryable) == (RequestRejected, "request_rejected", False)


EXPECTED = "expected an mrt-reward server at http://host, which answers POST /v1/score, got "
TO_DO = ": check the URL, or start a server with `mrt-reward serve`"


@pytest.mark.parametrize(
    ("status", "headers", "came"),
    [
        (404, {}, "HTTP 404"),
        (404, {"Server": "SimpleHTTP/0.6 Python/3.11"}, "HTTP 404 from 'SimpleHTTP/0.6 Python/3.11'"),
        (405, {"Server": "nginx"}, "HTTP 405 from 'nginx'"),
        (501, {}, "HTTP 501"),
        (308, {"Location": "https://host/v1/score"}, "HTTP 308 to https://host/v1/score"),
    ],
)
def test_a_web_server_of_another_kind_is_named_and_not_asked_again(
    status: int, headers: dict[str, str], came: str
) -> None:
    error = refused(replied(status, httpx.Headers(headers), b"")).error
    assert (type(error), str(error), error.retryable) == (RequestRejected, EXPECTED + came + TO_DO, False)


def test_a_404_of_ours_says_what_it_says() -> None:
    assert str(refused(replied(404, httpx.Headers({"Server": "x"}), body_of("not_found"))).error) == "no (HTTP 404)"


@pytest.mark.parametrize(
    ("header", "least_s"),
    [("7", 7.0), ("0", 0.0), (None, 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-3", 0.0), ("٣", 0.0)],
)
def test_a_wait_in_seconds_is_heeded_and_anything_else_is_none(header: str | None, least_s: float) -> None:
    headers = httpx.Headers({} if header is None else {b"Retry-After": header.encode()})
    reply = refused(replied(429, headers, body_of("overloaded")))
    assert reply.wait_s == least_s
    assert isinstance(reply.error, ServiceError)
    assert reply.error.retry_after_s == (least_s or 1.0)


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")])
def test_where_no_server_is_the_error_says_how_to_start_one(error: httpx.HTTPError) -> None:
    lost = unreachable("http://server", error).error
    assert (lost.code, lost.retryable) == (UNREACHABLE, True)
    assert "mrt-reward serve" in str(lost)


def test_a_reply_that_was_lost_is_distinguished_from_a_server_that_is_not_there() -> None:
    lost = unreachable("http://server", httpx.ReadError("reset")).error
    assert str(lost) == "http://server: the reply was lost: ReadError: reset"
    assert (lost.code, lost.retryable) == (UNREACHABLE, True)


def test_who_sent_no_key_or_a_wrong_one_learns_how_a_key_is_sent() -> None:
    message = str(refused(replied(401, httpx.Headers(), body_of("unauthorized"))).error)
    assert "api_key=" in message
    assert "MRT_REWARD_API_KEY" in message
    assert "MRT_REWARD_API_KEY" not in str(refused(replied(403, httpx.Headers(), body_of("forbidden"))).error)
