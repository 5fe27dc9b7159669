"""OpenTelemetry's spans, by its own SDK, sent to a collector of loopback: their parents, and what they never hold."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from structlog.testing import capture_logs

from mrt_reward.client import AsyncClient
from mrt_reward.errors import ProverError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server import otel
from mrt_reward.server.telemetry import spans_asked_for
from tests.server.conftest import TRACE, VALUES, live_server

TRACE_ID, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CALLERS_SPAN}-01"


@dataclass
class Collector:
    """Takes OTLP over HTTP."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    """Set at first; while it is not, what was sent waits for a reply."""

    @property
    def spans(self) -> list[Span]:
        """All that arrived."""
        found: list[Span] = []
        for body in self.bodies:
            request = cast("Any", ExportTraceServiceRequest.FromString(body))
            found += [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
        return found


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One that listens, and servers that are asked to send to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            collector.answers.wait()
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        collector.answers.set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector
        collector.answers.set()
        server.shutdown()
        thread.join()


async def ask(url: str, body: object, method: str = "POST", **headers: str) -> int:
    """Status of a request by a caller whose own requests are not followed."""

    def send() -> int:
        request = urllib.request.Request(  # loopback
            url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    return await asyncio.to_thread(send)


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def attributes(span: Span) -> dict[str, object]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")).removeprefix("("))
        for each in cast("Any", span).attributes
    }


ROLLOUTS = {"estimator": {"kind": "rollouts", "num_samples": 2}}


async def test_a_request_its_scoring_its_proofs_and_its_grading_are_one_tree_under_the_callers_span(
    collector: Collector,
) -> None:
    async with live_server() as live:
        bad = {**TRACE, "id": "u", "answer": None}
        body = {"traces": [TRACE, bad], "options": ROLLOUTS}
        assert await ask(f"{live.url}/v1/score", body, traceparent=TRACEPARENT) == 200
        await live.http.get("/metrics")
        await live.http.get("/readyz")
    spans = collector.spans
    assert not [span for span in spans if "/metrics" in span.name or "/readyz" in span.name]
    [request] = named(spans, "POST /v1/score")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE_ID, CALLERS_SPAN)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
    }
    [score] = named(spans, "mrt_reward.score")
    assert score.parent_span_id == request.span_id
    outcomes = {name: count for name, count in attributes(score).items() if name != "mrt_reward.tokens"}
    assert outcomes == {"mrt_reward.traces": 2, "mrt_reward.ok": 1, "mrt_reward.error": 1}
    assert cast("int", attributes(score)["mrt_reward.tokens"]) > 0
    [prove] = named(spans, "mrt_reward.prove")
    assert prove.parent_span_id == score.span_id
    assert attributes(prove)["mrt_reward.prefixes"] == len(VALUES)
    grades = named(spans, "mrt_reward.grade")
    assert {span.parent_span_id for span in grades} == {score.span_id}
    assert sum(cast("int", attributes(span)["mrt_reward.answers"]) for span in grades) >= 3  # 42, 0; the outcome
    assert {span.trace_id.hex() for span in (request, score, prove, *grades)} == {TRACE_ID}


async def test_no_span_holds_a_text_of_a_caller_or_the_message_of_an_error(collector: Collector) -> None:
    class Quoting(ScriptedProver):
        async def prove(self, proof: Any) -> Any:
            raise ProverError("secret-message")

    secret = {**TRACE, "id": "secret-id", "problem": "secret-problem", "answer": "secret-answer"}
    secret["completion"] = f"secret-thinking\n\n{TRACE['completion']}"
    async with live_server(Quoting(VALUES)) as live:
        url = f"{live.url}/v1/score?secret-query=1"
        headers = {"User-Agent": "secret-agent", "X-Request-ID": "secret-request"}
        assert await ask(url, {"traces": [secret]}, **headers) == 200
        assert await ask(url, {"traces": "secret-body"}) == 422
        assert await ask(f"{live.url}/secret-path", {}) == 404
    assert len(named(collector.spans, "POST /v1/score")) == 2
    [failed] = named(collector.spans, "mrt_reward.prove")
    assert attributes(failed)["error.type"] == "ProverError"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert not [span for span in collector.spans if cast("Any", span).events or span.status.message]
    assert b"secret" not in b"".join(collector.bodies)


async def test_a_method_of_a_stranger_is_not_written(collector: Collector) -> None:
    async with live_server() as live:
        assert await ask(f"{live.url}/v1/score", {}, method="SECRETMETHOD") == 405
    [request] = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert (request.name, attributes(request)["http.request.method"]) == ("HTTP /v1/score", "_OTHER")
    assert b"SECRET" not in b"".join(collector.bodies)


async def test_a_caller_whose_httpx_is_instrumented_is_the_parent(collector: Collector) -> None:
    training = NonRecordingSpan(SpanContext(int(TRACE_ID, 16), int(CALLERS_SPAN, 16), False, TraceFlags(1)))
    async with live_server() as live, AsyncClient(live.url) as client:  # in one process, which the server instruments
        with use_span(training):
            await client.score([{**TRACE}])
    [request] = named(collector.spans, "POST /v1/score")
    callers = {span.span_id for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT}
    assert request.parent_span_id in callers


async def test_neither_a_request_nor_the_end_waits_for_a_collector_that_answers_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    monkeypatch.setattr(otel, "MAX_CLOSE_S", 0.1)
    collector.answers.clear()

    async def serve_and_end() -> None:
        async with live_server() as live:
            while not collector.bodies:
                assert await ask(f"{live.url}/v1/score", {"traces": [TRACE]}) == 200
            assert await ask(f"{live.url}/v1/score", {"traces": [TRACE]}) == 200

    await asyncio.wait_for(serve_and_end(), 60)
    # Nor does the process, which ends once these threads do.
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 20)
    assert not collector.answers.is_set()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_who_asks_for_none_gets_none(environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert spans_asked_for(environ) is None
    assert "no_spans" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "expected otlp, console or none, got 'zipkin'"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "expected http/protobuf, got 'grpc'",
        ),
    ],
)
def test_what_is_asked_for_and_not_there_is_logged(environ: Mapping[str, str], reason: str) -> None:
    with capture_logs() as logged:
        assert spans_asked_for(environ) is None
    assert [(line["event"], reason in line["reason"]) for line in logged] == [("no_spans", True)]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OTEL_PROPAGATORS", "b3", "Propagator b3 not found"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "less than or equal to max_queue_size"),
    ],
)
def test_a_variable_that_opentelemetry_does_not_take_is_logged(name: str, value: str, reason: str) -> None:
    # In a process of its own: propagators are chosen as OpenTelemetry is imported.
    script = "from mrt_reward.server.telemetry import spans_asked_for; assert spans_asked_for() is None"
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": "console", name: value}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no_spans" in done.stdout
    assert reason in done.stdout
    assert "pip install" not in done.stdout


def test_without_the_extra_the_log_says_how_to_install_it_and_without_being_asked_nothing_is_imported() -> None:
    script = """
import sys
from mrt_reward.server.telemetry import spans_asked_for
import mrt_reward.server.run
assert spans_asked_for({}) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
sys.modules["opentelemetry"] = None  # as if it were not installed
assert spans_asked_for({"OTEL_TRACES_EXPORTER": "otlp"}) is None
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "no_spans" in done.stdout
    assert "[otel]" in done.stdout
