"""Logs, metrics, and whether spans are asked for. None of these ever holds a prompt or a completion."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from structlog.typing import EventDict

from mrt_reward.golds import is_odd
from mrt_reward.install import install_command
from mrt_reward.server.collector import ScorerCollector
from mrt_reward.server.overview import Overview
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace

if TYPE_CHECKING:
    from mrt_reward.server.otel import Spans

logger = structlog.stdlib.get_logger(__name__)

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def without_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Callers' words without what a terminal obeys: control characters, of both sets, and those that turn lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _CONTROLS.sub("?", value)
    return event


def frames_only(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Log where an exception was raised and its kind, without its message, which may quote a caller's text."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["error"] = type(error).__name__
        event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-20:]]
    return event


class _Unfailing:
    """A stream for logs: a line that cannot be written, as on a full disk, costs nobody an answer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or leave out."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, or not."""
        with suppress(OSError):
            self._stream.flush()


def configure_logs(log_format: Literal["console", "json", "off"], level: int = logging.INFO) -> None:
    """Log to standard error, from a level on: for people, for machines, or not at all."""
    level = logging.CRITICAL if log_format == "off" else level
    # A file shows colours as control characters.
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if log_format == "json" else console
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            frames_only,
            without_controls,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )


def spans_asked_for(environ: Mapping[str, str] = os.environ) -> Spans | None:
    """Spans, where OpenTelemetry's standard variables ask for them; otherwise None, and nothing is imported.

    Where they ask for what is not installed or not there, the log says so, and the server goes on without: the
    variables are often set for a whole machine.
    """
    given = {name: environ.get(f"OTEL_{name}", "").strip().lower() for name in _OTEL}
    protocol = given["EXPORTER_OTLP_TRACES_PROTOCOL"] or given["EXPORTER_OTLP_PROTOCOL"] or "http/protobuf"
    endpoint = given["EXPORTER_OTLP_TRACES_ENDPOINT"] or given["EXPORTER_OTLP_ENDPOINT"]
    exporter = given["TRACES_EXPORTER"] or ("otlp" if endpoint else "none")
    if exporter == "none" or given["SDK_DISABLED"] == "true":
        return None
    if exporter not in {"otlp", "console"}:
        wrong = f"OTEL_TRACES_EXPORTER: expected otlp, console or none, got {exporter!r}"
    elif exporter == "otlp" and protocol != "http/protobuf":
        wrong = f"OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, got {protocol!r}"
    else:
        try:
            from mrt_reward.server.otel import Spans, exporter_of  # noqa: PLC0415 - an optional extra

            return Spans(exporter_of(exporter))
        except ImportError as error:
            wrong = f"{error}: {install_command('otel')}"
        except ValueError as error:
            wrong = f"a variable OTEL_* has a value that OpenTelemetry does not take: {error}"
    logger.warning("no_spans", reason=wrong)
    return None


_OTEL = (
    "EXPORTER_OTLP_ENDPOINT",
    "EXPORTER_OTLP_TRACES_ENDPOINT",
    "EXPORTER_OTLP_PROTOCOL",
    "EXPORTER_OTLP_TRACES_PROTOCOL",
    "SDK_DISABLED",
    "TRACES_EXPORTER",
)
"""Variables that say whether spans are asked for, and how they leave."""


class Telemetry:
    """The server's Prometheus metrics, in a registry of their own."""

    def __init__(self, scorer: Scorer) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("mrt_reward_requests", "Requests answered.", ["route", "code"], registry=self.registry)
        self._late = Counter("mrt_reward_deadline_exceeded", "Requests answered 504.", registry=self.registry)
        self._seconds = Histogram(
            "mrt_reward_score_seconds", "Time to answer, in seconds.", ["route"], registry=self.registry
        )
        self._traces = Counter("mrt_reward_items", "Traces scored.", ["outcome"], registry=self.registry)
        self._progress = Histogram(
            "mrt_reward_progress",
            "Progress of episodes.",
            buckets=[-0.5, -0.2, -0.1, -0.02, 0.02, 0.1, 0.2, 0.5, 1.0],
            registry=self.registry,
        )
        self._odd_golds = Counter(
            "mrt_reward_odd_golds", "Traces whose gold answer no model is likely to write.", registry=self.registry
        )
        self._computed = Counter("mrt_reward_engine_tokens", "Tokens the engine computed.", registry=self.registry)
        self._waited = Histogram(
            "mrt_reward_queue_wait_seconds", "Time of a proof until its turn, in seconds.", registry=self.registry
        )
        self._proved = Histogram(
            "mrt_reward_engine_seconds", "Time of the engine for a proof, in seconds.", registry=self.registry
        )
        self._graded = Histogram(
            "mrt_reward_grader_seconds",
            "Time of a grader for a batch of answers, in seconds.",
            ["grader"],
            registry=self.registry,
        )
        for name in scorer.graders:
            self._graded.labels(name)
        self.overview = Overview(scorer.queue)
        scorer.queue.on_answered = self._count_proof
        scorer.on_graded = self._count_grading
        self._collector = ScorerCollector(scorer)
        self.registry.register(self._collector)

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count one request."""
        self.overview.count_request(route, code)
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)
        if code == 504:
            self._late.inc()

    def _count_proof(self, waited_s: float, proved_s: float) -> None:
        self._waited.observe(waited_s)
        self._proved.observe(proved_s)

    def _count_grading(self, grader: str, seconds: float) -> None:
        self._graded.labels(grader).observe(seconds)

    def count_trace(self, scored: ScoredTrace) -> None:
        """Count one trace and its progress."""
        self._traces.labels(scored.status.value).inc()
        self._computed.inc(scored.usage.computed_tokens)
        self._odd_golds.inc(is_odd(scored.spellings))
        progress = [episode.progress for episode in scored.episodes if episode.progress is not None]
        for each in progress:
            self._progress.observe(each)
        self.overview.count_trace(scored.status, progress, scored.error and scored.error.code)

    async def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        await self._collector.look()
        return generate_latest(self.registry)
