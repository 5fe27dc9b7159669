"""Logs and metrics. Neither ever holds a prompt or a completion."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from structlog.typing import EventDict

from mrt_reward.golds import is_odd
from mrt_reward.protocols import EndpointState
from mrt_reward.service.cache import SQLiteStore
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace

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


def configure_logs(log_format: Literal["console", "json", "off"], level: int = logging.INFO) -> None:
    """Log to standard error, from a level on: for people, for machines, or not at all."""
    level = logging.CRITICAL if log_format == "off" else level
    renderer = structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer()
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class _ScorerCollector(Collector):
    """What the scorer counts itself."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily]:
        """Current figures."""
        for name, help_text, count in (
            ("hits", "Values answered without the engine.", self._scorer.cache.hits),
            ("misses", "Values that the engine gave.", self._scorer.cache.misses),
        ):
            yield CounterMetricFamily(f"mrt_reward_cache_{name}", help_text, value=count)
        yield from _store_metrics(self._scorer.cache.store)
        tokens = CounterMetricFamily("mrt_reward_tenant_tokens", "Tokens begun for each key.", labels=["tenant"])
        for tenant, num_tokens in self._scorer.queue.budgets.charged.items():
            tokens.add_metric([tenant], num_tokens)
        yield tokens
        info = self._scorer.info
        labels = {"model": info.name, "version": info.version, "engine": info.engine}
        yield InfoMetricFamily("mrt_reward_weight_version", "Which weights prove.", value=labels)
        wrong = float(self._scorer.canary.problem is not None)
        yield GaugeMetricFamily("mrt_reward_canary_changed", "Whether a known trace got other values.", value=wrong)
        yield from _endpoint_metrics(self._scorer.endpoints)
        if info.computed_per_needed is not None:
            help_text = "Tokens computed per token needed, in the engine's self-check."
            yield GaugeMetricFamily("mrt_reward_computed_per_needed", help_text, value=info.computed_per_needed)


def _endpoint_metrics(endpoints: Sequence[EndpointState]) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """Of servers that prove; nothing where the engine is in this process."""
    if not endpoints:
        return
    up = GaugeMetricFamily("mrt_reward_endpoint_up", "Whether an endpoint is asked.", labels=["endpoint"])
    proofs = CounterMetricFamily("mrt_reward_endpoint_proofs", "Proofs it answered.", labels=["endpoint"])
    failures = CounterMetricFamily("mrt_reward_endpoint_failures", "Times it did not answer.", labels=["endpoint"])
    for each in endpoints:
        up.add_metric([each.url], float(each.up))
        proofs.add_metric([each.url], each.num_proofs)
        failures.add_metric([each.url], each.num_failures)
    yield from (up, proofs, failures)


def _store_metrics(store: SQLiteStore | None) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """What the cache's file did and did not do; nothing where there is none."""
    if store is None:
        return
    failures = CounterMetricFamily("mrt_reward_cache_file_failures", "Faults of the cache's file.", labels=["what"])
    for what, count in store.num_failures.items():
        failures.add_metric([what], count)
    yield failures
    yield CounterMetricFamily("mrt_reward_cache_file_dropped", "Values not stored.", value=store.num_dropped)
    yield GaugeMetricFamily("mrt_reward_cache_file_pending", "Values that wait to be stored.", value=store.num_pending)


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
        queue = Gauge("mrt_reward_queue_tokens", "Tokens admitted and not answered.", registry=self.registry)
        queue.set_function(lambda: scorer.queue.queued_tokens)
        self.registry.register(_ScorerCollector(scorer))

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)
        if code == 504:
            self._late.inc()

    def count_trace(self, scored: ScoredTrace) -> None:
        """Count one trace and its progress."""
        self._traces.labels(scored.status.value).inc()
        self._computed.inc(scored.usage.computed_tokens)
        self._odd_golds.inc(is_odd(scored.spellings))
        for episode in scored.episodes:
            if episode.progress is not None:
                self._progress.observe(episode.progress)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
