"""What the scorer counts, as metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from mrt_reward.protocols import PrefixHits
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.collector import ScorerCollector
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import TRACE, VALUES, live_server, post
from tests.service.conftest import WordGrader, make_trace, speller
from tests.service.test_queue import Gate, proof, settle


def samples(scorer: Scorer) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(ScorerCollector(scorer))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


async def test_proofs_that_wait_and_proofs_that_run_are_counted_apart() -> None:
    gate = Gate(num_slots=2)
    scorer = Scorer(gate, {"word": WordGrader()}, speller, limits=QueueLimits(1000))
    calls = [asyncio.create_task(scorer.queue.prove(proof())) for _ in range(5)]
    await settle()
    with scorer.queue.admitted(70):
        found = samples(scorer)
    assert found["mrt_reward_queue_depth"] == 3
    assert found['mrt_reward_engine_inflight{engine="scripted"}'] == 2
    assert (found["mrt_reward_queue_tokens"], found["mrt_reward_queue_limit_tokens"]) == (70, 1000)
    gate.open.set()
    await asyncio.gather(*calls)
    found = samples(scorer)
    assert (found["mrt_reward_queue_depth"], found['mrt_reward_engine_inflight{engine="scripted"}']) == (0, 0)
    await scorer.close()


async def test_a_hit_is_memorys_or_the_stores(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    # Hits of memory and store, then their misses: memory lacks what the store has.
    expected = [(0, 0, 4, 4), (4, 0, 4, 4), (0, 4, 4, 0)]
    found: list[tuple[float, ...]] = []
    for num_scores in (2, 1):  # The second scorer begins with an empty memory.
        scorer = Scorer(
            ScriptedProver(VALUES), {"word": WordGrader()}, speller, cache=ScoreCache(64, SQLiteStore(path))
        )
        for _ in range(num_scores):
            await scorer.score([make_trace()])
            figures = samples(scorer)
            hits = [figures[f'mrt_reward_cache_hits_total{{tier="{tier}"}}'] for tier in ("memory", "store")]
            misses = [figures[f'mrt_reward_cache_misses_total{{tier="{tier}"}}'] for tier in ("memory", "store")]
            found.append((*hits, *misses))
        await scorer.close()
    assert found == expected


async def test_without_a_store_only_memory_misses() -> None:
    scorer = Scorer(ScriptedProver(VALUES), {"word": WordGrader()}, speller)
    await scorer.score([make_trace()])
    missed = {name: count for name, count in samples(scorer).items() if "misses" in name}
    assert missed == {'mrt_reward_cache_misses_total{tier="memory"}': 4}
    await scorer.close()


class Caching(ScriptedProver):
    """Its engine has a cache of prefixes."""

    hits: PrefixHits | None = None

    async def prefix_cache(self) -> PrefixHits | None:
        return self.hits


async def test_the_engines_own_cache_is_reported_where_it_says_what_it_had_and_is_never_a_zero_else() -> None:
    prover, name = Caching(VALUES), "mrt_reward_prefix_cache_hit_ratio"
    async with live_server(prover) as live:
        found: list[list[str]] = []
        for hits in (None, PrefixHits(0, 0), PrefixHits(200, 150), None):
            prover.hits = hits
            metrics = (await live.http.get("/metrics")).text
            found.append([line.split()[1] for line in metrics.splitlines() if line.startswith(name)])
    assert found == [[], [], ["0.75"], []]
    async with live_server() as live:
        assert name not in (await live.http.get("/metrics")).text


class Killing(WordGrader):
    @property
    def num_kills(self) -> Mapping[str, int]:
        return Counter(timeout=3, lost=1)


async def test_kills_of_graders_are_reported_by_reason() -> None:
    scorer = Scorer(ScriptedProver(VALUES), {"math": Killing(), "word": WordGrader()}, speller)
    kills = {name: count for name, count in samples(scorer).items() if "grader_kills" in name}
    assert kills == {
        'mrt_reward_grader_kills_total{grader="math",reason="timeout"}': 3,
        'mrt_reward_grader_kills_total{grader="math",reason="lost"}': 1,
    }
    await scorer.close()


async def test_every_answered_proof_is_timed_in_the_queue_and_in_the_engine() -> None:
    async with live_server() as live:
        await post(live, "/v1/score", {"traces": [TRACE, {**TRACE, "id": "u", "problem": "7 times 6?"}]})
        metrics = (await live.http.get("/metrics")).text
    assert "mrt_reward_queue_wait_seconds_count 2.0" in metrics
    assert "mrt_reward_engine_seconds_count 2.0" in metrics
