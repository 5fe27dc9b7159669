"""The admin port, from a trainer's side."""

from __future__ import annotations

import json

import httpx
import pytest

from mrt_reward.client import MALFORMED, UNREACHABLE, RetryPolicy
from mrt_reward.client.admin import ASK_S, load_weights, set_draining
from mrt_reward.errors import DeadlineExceeded, Overloaded, RequestRejected, WireError
from mrt_reward.protocols import WeightsCanary
from mrt_reward.wire import WeightsRequest


def answering(status: int, body: object, seen: list[httpx.Request] | None = None) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=body)

    return httpx.MockTransport(answer)


def test_new_weights_are_named_and_their_version_comes_back() -> None:
    seen: list[httpx.Request] = []
    transport = answering(200, {"model": "m", "version": "v2"}, seen)
    assert load_weights("http://a:8001/", "/w/step_2", key="k", transport=transport) == "v2"
    [request] = seen
    assert str(request.url) == "http://a:8001/admin/weights"
    assert request.headers["authorization"] == "Bearer k"
    assert json.loads(request.content) == {"path": "/w/step_2", "kind": "checkpoint"}


@pytest.mark.parametrize("draining", [True, False])
def test_a_drain_is_asked_for_and_taken_back(draining: bool) -> None:
    seen: list[httpx.Request] = []
    set_draining("http://a:8001", draining, key="k", transport=answering(200, {"status": "ok"}, seen))
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", "http://a:8001/admin/drain")
    assert (request.headers["content-type"], json.loads(request.content)) == (
        "application/json",
        {"draining": draining},
    )


def test_a_drain_that_takes_too_long_is_reported() -> None:
    body = {"error": {"message": "not done", "type": "T", "code": "deadline_exceeded", "param": None}}
    with pytest.raises(DeadlineExceeded, match="not done"):
        set_draining("http://a", True, transport=answering(504, body))


def test_weights_that_are_refused_say_why() -> None:
    body = {"error": {"message": "outside the root", "type": "T", "code": "weights_refused", "param": "path"}}
    with pytest.raises(RequestRejected, match="outside the root"):
        load_weights("http://a", "/w", transport=answering(400, body))


def test_a_server_that_still_loads_is_asked_again_until_it_is_done() -> None:
    # A server of an earlier version says by a 504 what one of this version says by a 202.
    late = {"error": {"message": "not done", "type": "T", "code": "deadline_exceeded", "param": None}}
    replies = [
        (202, {"status": "loading"}),
        (504, late),
        (202, {"status": "loading"}),
        (200, {"model": "m", "version": "v2"}),
    ]
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        status, body = replies[len(seen) - 1]
        return httpx.Response(status, json=body)

    weights = WeightsRequest(path="/w", canary=WeightsCanary((1, 2), (3, 4), -0.5))
    assert load_weights("http://a", weights, transport=httpx.MockTransport(answer)) == "v2"
    assert len({request.content for request in seen}) == 1, "the same weights each time, which makes it one load"
    assert json.loads(seen[0].content)["canary"]["logprob"] == -0.5
    assert all(0 < int(request.headers["x-deadline-ms"]) <= 1000 * ASK_S for request in seen)


def test_a_caller_who_has_no_more_time_learns_that_the_load_goes_on() -> None:
    with pytest.raises(DeadlineExceeded, match="still loads /w after 0 s, and goes on"):
        load_weights("http://a", "/w", timeout_s=0.0, transport=answering(202, {"status": "loading"}))


def test_an_admin_port_that_is_away_or_talks_nonsense_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="no server at") as away:
        load_weights("http://127.0.0.1:9", "/w", timeout_s=1)
    assert away.value.code == UNREACHABLE
    with pytest.raises(WireError, match="no WeightsResponse") as nonsense:
        load_weights("http://a", "/w", transport=answering(200, {}))
    assert nonsense.value.code == MALFORMED


def test_a_server_that_is_away_is_waited_for_longer_than_one_that_talks_nonsense() -> None:
    patient = RetryPolicy(max_tries=2, max_tries_away=50)
    assert patient.may_retry(WireError("gone", code=UNREACHABLE), 49)
    assert patient.may_retry(Overloaded("busy"), 49)
    assert not patient.may_retry(WireError("odd", code=MALFORMED), 2)
    assert not patient.may_retry(DeadlineExceeded("late"), 50)
    assert not patient.may_retry(RequestRejected("no"), 1)
    assert not RetryPolicy(max_tries=2).may_retry(WireError("gone", code=UNREACHABLE), 2)
