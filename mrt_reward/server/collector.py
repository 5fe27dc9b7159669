"""What the scorer counts itself, as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from mrt_reward.protocols import CountsKills, EndpointState, Grader, PrefixHits
from mrt_reward.service.cache import ScoreCache
from mrt_reward.service.queue import ProofQueue
from mrt_reward.service.scorer import Scorer
from mrt_reward.service.store import ValueStore

Family = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


class ScorerCollector(Collector):
    """Reads the figures at each scrape.

    Args:
        scorer: its queue and cache are measured.

    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._prefix_hits: PrefixHits | None = None

    async def look(self) -> None:
        """Ask the engine, which may be elsewhere, for what it counts itself, before a scrape that reports it."""
        self._prefix_hits = await self._scorer.prefix_cache()

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now."""
        scorer, info = self._scorer, self._scorer.info
        yield from _queue_metrics(scorer.queue, info.engine)
        yield from _cache_metrics(scorer.cache)
        yield from _store_metrics(scorer.cache.store)
        yield from _grader_metrics(scorer.graders)
        labels = {"model": info.name, "version": info.version, "engine": info.engine}
        yield InfoMetricFamily("mrt_reward_weight_version", "Which weights prove.", value=labels)
        wrong = float(scorer.canary.problem is not None)
        yield GaugeMetricFamily("mrt_reward_canary_changed", "Whether a known trace got other values.", value=wrong)
        if (paid := scorer.false_progress.mean) is not None:
            help_text = "Mean progress paid for texts that do no work."
            yield GaugeMetricFamily("mrt_reward_canary_false_progress", help_text, value=paid)
        if self._prefix_hits is not None and self._prefix_hits.num_asked:
            help_text = "Of the tokens looked up in the engine's own cache of prefixes, the share that was there."
            ratio = self._prefix_hits.num_hit / self._prefix_hits.num_asked
            yield GaugeMetricFamily("mrt_reward_prefix_cache_hit_ratio", help_text, value=ratio)
        yield from _endpoint_metrics(scorer.endpoints)
        if info.computed_per_needed is not None:
            help_text = "Tokens computed per token needed, in the engine's self-check."
            yield GaugeMetricFamily("mrt_reward_computed_per_needed", help_text, value=info.computed_per_needed)


def _queue_metrics(queue: ProofQueue, engine: str) -> Iterator[Family]:
    yield GaugeMetricFamily("mrt_reward_queue_tokens", "Tokens admitted and not answered.", value=queue.queued_tokens)
    most = queue.max_queue_tokens
    yield GaugeMetricFamily("mrt_reward_queue_limit_tokens", "Tokens that are admitted at once.", value=most)
    yield GaugeMetricFamily("mrt_reward_queue_depth", "Proofs that wait for their turn.", value=queue.num_waiting)
    running = GaugeMetricFamily("mrt_reward_engine_inflight", "Proofs that the engine has.", labels=["engine"])
    running.add_metric([engine], queue.num_running)
    yield running
    tokens = CounterMetricFamily("mrt_reward_tenant_tokens", "Tokens begun for each key.", labels=["tenant"])
    for tenant, num_tokens in queue.budgets.charged.items():
        tokens.add_metric([tenant], num_tokens)
    yield tokens


def _cache_metrics(cache: ScoreCache) -> Iterator[Family]:
    hits = CounterMetricFamily("mrt_reward_cache_hits", "Values answered without the engine.", labels=["tier"])
    hits.add_metric(["memory"], cache.hits - cache.stored_hits)
    hits.add_metric(["store"], cache.stored_hits)
    yield hits
    misses = CounterMetricFamily("mrt_reward_cache_misses", "Values that a tier did not have.", labels=["tier"])
    misses.add_metric(["memory"], cache.misses + cache.stored_hits)
    if cache.store is not None:
        misses.add_metric(["store"], cache.misses)
    yield misses


def _grader_metrics(graders: Mapping[str, Grader]) -> Iterator[Family]:
    kills = CounterMetricFamily(
        "mrt_reward_grader_kills", "Grading processes killed for an answer.", labels=["grader", "reason"]
    )
    for name, grader in graders.items():
        if isinstance(grader, CountsKills):
            for reason, count in grader.num_kills.items():
                kills.add_metric([name, reason], count)
    yield kills


def _endpoint_metrics(endpoints: Sequence[EndpointState]) -> Iterator[Family]:
    """Of servers that prove; nothing where the engine is in this process."""
    if not endpoints:
        return
    up = GaugeMetricFamily("mrt_reward_endpoint_up", "Whether an endpoint is asked.", labels=["endpoint"])
    proofs = CounterMetricFamily("mrt_reward_endpoint_proofs", "Proofs it answered.", labels=["endpoint"])
    failures = CounterMetricFamily("mrt_reward_endpoint_failures", "Times it did not answer.", labels=["endpoint"])
    retries = CounterMetricFamily("mrt_reward_retries", "Questions that were asked again.", labels=["endpoint"])
    breaker = GaugeMetricFamily(
        "mrt_reward_breaker_state", "1 while an endpoint is left out or answers nothing, 0 else.", labels=["engine"]
    )
    for each in endpoints:
        breaker.add_metric([each.url], float(not each.up))
        up.add_metric([each.url], float(each.up))
        proofs.add_metric([each.url], each.num_proofs)
        failures.add_metric([each.url], each.num_failures)
        retries.add_metric([each.url], each.num_retries)
    yield from (up, breaker, proofs, failures, retries)


def _store_metrics(store: ValueStore | None) -> Iterator[Family]:
    """What the cache behind the memory did and did not do; nothing where there is none."""
    if store is None:
        return
    failures = CounterMetricFamily("mrt_reward_cache_store_failures", "Faults of the cache's store.", labels=["what"])
    for what, count in store.num_failures.items():
        failures.add_metric([what], count)
    yield failures
    yield CounterMetricFamily("mrt_reward_cache_store_dropped", "Values not stored.", value=store.num_dropped)
    yield GaugeMetricFamily("mrt_reward_cache_store_pending", "Values that wait to be stored.", value=store.num_pending)
