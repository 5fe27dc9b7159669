"""Logs and metrics tell what they may, in plain characters."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest
import structlog

from mrt_reward.protocols import EndpointState, ProverInfo
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.gate.replies import error_response
from mrt_reward.server.telemetry import configure_logs, without_controls
from mrt_reward.types import ErrorInfo
from tests.server.conftest import TRACE, VALUES, live_server


def test_a_status_is_a_number_on_every_python() -> None:
    status = error_response(HTTPStatus.TOO_MANY_REQUESTS, ErrorInfo("m", "T", "c")).status_code
    assert (type(status), str(status)) == (int, "429")


def test_control_characters_of_both_sets_never_reach_a_terminal() -> None:
    hostile = "a\x1b[31m\x9b31m\r\nb\x7f\x00\u2028\u202e\u2066c\u00e9"
    assert without_controls(None, "", {"event": hostile, "n": 1}) == {"event": "a?[31m?31m??b?????c\u00e9", "n": 1}


async def test_a_request_id_is_the_same_in_the_log_and_in_the_reply(capsys: pytest.CaptureFixture[str]) -> None:
    async with live_server(log_format="json") as live:
        reply = await live.http.get("/version", headers={"x-request-id": "id\x9b31m\xe9".encode("latin-1")})  # type: ignore[dict-item]
        assert reply.headers["x-request-id"] == "id?31m?"
        [event] = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "/version" in line]
        assert event["request_id"] == "id?31m?"


async def test_where_a_model_lies_is_for_nobody_outside() -> None:
    class Local(ScriptedProver):
        @property
        def info(self) -> ProverInfo:
            return ProverInfo("/home/me/qwen", "1", "scripted", 1000)

    async with live_server(Local(VALUES), api_key="k") as live:
        metrics = (await live.http.get("/metrics")).text
        assert 'model="qwen"' in metrics
        assert "/home/me" not in metrics
        prover = await live.http.get("/v1/prover", headers={"authorization": "Bearer k"})
        assert prover.json()["model"] == "qwen"
        scored = await live.http.post("/v1/score", json={"traces": [TRACE]}, headers={"authorization": "Bearer k"})
        assert scored.json()["traces"][0]["prover"] == "qwen@1", "as /v1/prover says it"


async def test_endpoints_that_are_up_are_reported_and_nothing_else_of_their_urls() -> None:
    class Fleet(ScriptedProver):
        endpoints = (EndpointState("http://a:9", True, "", 7, 1, 5), EndpointState("http://b:9", False, "gone", 2, 3))

    async with live_server(Fleet(VALUES)) as live:
        reported = (await live.http.get("/v1/prover")).json()["endpoints"]
        assert reported == [
            {"url": "http://a:9", "up": True, "problem": "", "num_proofs": 7, "num_failures": 1, "num_retries": 5},
            {"url": "http://b:9", "up": False, "problem": "gone", "num_proofs": 2, "num_failures": 3, "num_retries": 0},
        ]
        metrics = (await live.http.get("/metrics")).text
        for line in (
            'mrt_reward_endpoint_up{endpoint="http://a:9"} 1.0',
            'mrt_reward_endpoint_up{endpoint="http://b:9"} 0.0',
            'mrt_reward_breaker_state{engine="http://a:9"} 0.0',
            'mrt_reward_breaker_state{engine="http://b:9"} 1.0',
            'mrt_reward_endpoint_proofs_total{endpoint="http://a:9"} 7.0',
            'mrt_reward_endpoint_failures_total{endpoint="http://b:9"} 3.0',
            'mrt_reward_retries_total{endpoint="http://a:9"} 5.0',
        ):
            assert line in metrics
    async with live_server() as live:
        assert (await live.http.get("/v1/prover")).json()["endpoints"] == []
        assert "mrt_reward_endpoint" not in (await live.http.get("/metrics")).text


def test_a_log_file_holds_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console")
    structlog.get_logger("test").warning("something", code=3)
    output = capsys.readouterr().err
    assert "something" in output
    assert "\x1b" not in output


@pytest.fixture
def log_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that is always full, as the kernel has it."""
    with suppress(OSError), Path("/dev/full").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        yield
        monkeypatch.undo()


@pytest.mark.usefixtures("log_on_a_full_disk")
async def test_a_log_that_cannot_be_written_costs_no_answer() -> None:
    async with live_server(log_format="json") as live:
        reply = await live.http.post("/v1/score", json={"traces": [TRACE]})
    assert reply.json()["traces"][0]["status"] == "ok"
