"""OpenTelemetry's spans: of each request, and of the stages of its work, under the span of whoever asks.

Everything but names and numbers stays here: no span has a prompt, a completion, or the message of an error, which may
quote them. OpenTelemetry's own instrumentation records such messages: of requests, this module is there in its place;
of questions to endpoints, the messages are taken out before a span leaves. Imported only where the standard variables
ask for spans (`spans_asked_for`): it needs the extra `otel`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from fastapi import FastAPI
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.protocols.stages import Note, followed_by
from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.version import __version__

UNFOLLOWED = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds, by machines that want no span."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

MAX_CLOSE_S = 2.0
"""For the last spans to leave at the end; a collector that is away gets none of them."""


def exporter_of(name: str) -> SpanExporter:
    """The exporter of a value of `OTEL_TRACES_EXPORTER`; the variables of OTLP say the rest."""
    return ConsoleSpanExporter() if name == "console" else OTLPSpanExporter()


class Spans:
    """Makes spans and sends them, in a thread of its own; one that cannot be sent is dropped, and nobody waits for it.

    Args:
        exporter: sends them; owned.

    """

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "mrt-reward", SERVICE_VERSION: __version__}))
        self._exporter = exporter
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        sending = _Wordless(exporter)
        self._provider.add_span_processor(sending)
        self._tracer = self._provider.get_tracer("mrt_reward", __version__)
        # The library's default are names that the convention has given up.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
        self._outgoing = HTTPXClientInstrumentor()
        # What a server asks for itself, as its canary does, begins no trace.
        of_requests = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource, shutdown_on_exit=False)
        of_requests.add_span_processor(sending)
        self._outgoing.instrument(tracer_provider=of_requests)

    def follow(self, app: FastAPI) -> None:
        """Follow the requests of an application from now on, before any of its other middlewares sees them."""
        app.add_middleware(_Requests, tracer=self._tracer)

    async def close(self) -> None:
        """Send what is left, for a moment."""
        self._outgoing.uninstrument()
        # The process does not wait for a thread that is a daemon.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, MAX_CLOSE_S)
        if ending.is_alive():
            self._exporter.shutdown()  # ends its tries, for which the thread waits


class _Wordless(BatchSpanProcessor):
    """Sends of each span what has no message of an error: no event, and no description of a status."""

    def on_end(self, span: ReadableSpan) -> None:
        """Send a copy."""
        super().on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                span.resource,
                span.attributes,
                links=span.links,
                kind=span.kind,
                status=Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )


class _Requests(Middleware):
    """A span for each request.

    Args:
        app: what is behind it.
        tracer: makes the spans.

    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        super().__init__(app)
        self._tracer = tracer

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request in a span, which goes on from that of its caller."""
        if scope["path"] in UNFOLLOWED:
            await self._app(scope, receive, send)
            return
        # A method of nobody's is whatever a stranger wrote, as a path is.
        method, name = (scope["method"],) * 2 if scope["method"] in _METHODS else ("_OTHER", "HTTP")
        asked = {"http.request.method": method, "url.scheme": scope["scheme"]}
        context = propagate.extract(dict(Headers(scope=scope)))
        with self._opened(name, context=context, kind=SpanKind.SERVER, attributes=asked) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, int(message["status"]))
                await send(message)

            followed_by(self._stage)
            try:
                await self._app(scope, receive, noted)
            finally:
                # Paths of nobody's are whatever a stranger wrote.
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{name} {route}")
                    span.set_attribute("http.route", route)

    @contextmanager
    def _opened(self, name: str, **fields: object) -> Generator[Span]:
        """A span that says of an error no more than its class."""
        quiet = {"record_exception": False, "set_status_on_exception": False}
        with ExitStack() as ended:
            opening = self._tracer.start_as_current_span(name, **fields, **quiet)  # pyright: ignore[reportArgumentType]
            span = ended.enter_context(opening)
            ended.push(partial(_note_error, span))
            yield span

    @contextmanager
    def _stage(self, name: str, counts: Mapping[str, int]) -> Generator[Note]:
        with self._opened(f"mrt_reward.{name}") as span:

            def note(more: Mapping[str, int]) -> None:
                span.set_attributes({f"mrt_reward.{key}": count for key, count in more.items()})

            note(counts)
            yield note


def _note_error(span: Span, kind: type[BaseException] | None, *_: object) -> None:
    if kind is not None:
        span.set_attribute("error.type", kind.__name__)
        span.set_status(StatusCode.ERROR)


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
