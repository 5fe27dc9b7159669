"""Each trace is out, and stored, as soon as it is scored, and whoever leaves stops costing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.types import Status, Trace
from tests.service.conftest import MakeScorer, make_trace

OPTIONS = ScoreOptions()


class Stepping(ScriptedProver):
    """Ends one proof each time it is let, and notes what it begins."""

    def __init__(self, events: list[str]) -> None:
        super().__init__([0.25, 0.5, 0.5, 1.0])
        self.let = asyncio.Semaphore(0)
        self.events = events

    async def prove(self, proof: Proof) -> Proven:
        self.events.append(f"begun {self.num_calls}")
        proven = await super().prove(proof)
        await self.let.acquire()
        return proven


def many(num_traces: int) -> list[Trace]:
    return [make_trace(str(index), problem=f"Question {index}?") for index in range(num_traces)]


async def test_each_trace_is_out_before_the_next_but_one_is_begun(make_scorer: MakeScorer) -> None:
    events: list[str] = []
    prover = Stepping(events)
    scorer = make_scorer(prover)
    stream = scorer.stream(many(20), OPTIONS)
    for index in range(20):
        prover.let.release()
        j, scored = await asyncio.wait_for(anext(stream), timeout=10)
        assert (j, scored.status) == (index, Status.OK)
        events.append(f"out {index}")
    for index in range(18):
        assert events.index(f"out {index}") < events.index(f"begun {index + 2}")
    await scorer.close()


async def test_a_caller_who_leaves_a_stream_stops_costing_at_once(make_scorer: MakeScorer) -> None:
    events: list[str] = []
    prover = Stepping(events)
    scorer = make_scorer(prover)
    stream = scorer.stream(many(20), OPTIONS)
    prover.let.release()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert scorer.queue.queued_tokens == 0
    prover.let.release()
    # The slot is free for others, and none of the nineteen is ever begun again.
    assert (await scorer.score([make_trace("late")], OPTIONS))[0].status is Status.OK
    assert events == ["begun 0", "begun 1", "begun 2"]
    await scorer.close()


async def test_what_was_proved_before_the_rest_is_stored_and_never_proved_again(
    make_scorer: MakeScorer, tmp_path: Path
) -> None:
    prover = Stepping([])
    scorer = make_scorer(prover, cache=ScoreCache(store=SQLiteStore(tmp_path / "values.db")))
    stream = scorer.stream(many(3), OPTIONS)
    prover.let.release()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await scorer.close()
    later = ScriptedProver([0.25, 0.5, 0.5, 1.0])
    scorer = make_scorer(later, cache=ScoreCache(store=SQLiteStore(tmp_path / "values.db")))
    [scored] = await scorer.score(many(1), OPTIONS)
    assert (scored.usage.cached_probes, later.num_calls) == (4, 0)
    await scorer.close()
