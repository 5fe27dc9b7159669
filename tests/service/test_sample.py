from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mrt_reward.errors import Draining
from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.sample import sample
from tests.service.conftest import MakeScorer

QUERY = RolloutQuery(num_samples=4, temperature=1.0, top_p=1.0, max_tokens=8, stop_at_close=True)


async def test_a_context_is_continued_as_a_whole(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5])
    scorer = make_scorer(prover)
    context = scorer.tokenizer.encode_trusted("Why?")
    proven = await sample(scorer, context, QUERY, seed=9)
    [answer] = proven.answers
    assert [scorer.tokenizer.decode(ids) for ids in answer.completions] == ["{42}", "{42}", "{0}", "{0}"]
    [asked] = prover.proofs
    [probe] = asked.probes
    assert [*asked.token_ids.tolist(), *probe.suffix] == context.tolist()
    assert (probe.cut, probe.seed, asked.query) == (len(context) - 1, 9, QUERY)
    await scorer.close()


async def test_sampling_waits_for_room_counts_in_the_queue_and_leaves_it(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5])
    scorer = make_scorer(prover, limits=QueueLimits(40))
    context = scorer.tokenizer.encode_trusted("Why?")
    with scorer.queue.admitted(30):
        sampling = asyncio.create_task(sample(scorer, context, QUERY))
        for _ in range(5):
            await asyncio.sleep(0)
        assert prover.num_calls == 0
    await sampling
    assert prover.num_calls == 1
    assert scorer.queue.queued_tokens == 0
    await scorer.close()


async def test_a_service_that_shuts_down_samples_nothing(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5]))
    await scorer.drain()
    with pytest.raises(Draining):
        await sample(scorer, np.arange(3, dtype=np.int32), QUERY)
    await scorer.close()


@pytest.mark.parametrize("size", [0, 1])
async def test_a_context_needs_two_tokens(make_scorer: MakeScorer, size: int) -> None:
    scorer = make_scorer(ScriptedProver([0.5]))
    with pytest.raises(ValueError, match="at least 2 tokens"):
        await sample(scorer, np.arange(size, dtype=np.int32), QUERY)
    await scorer.close()
