"""From a reward loop's record to marks on the trajectory's own tokens, with veRL's own output."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mrt_verl import agent_loop, agent_loop_v1
from mrt_verl.marks import decode, encode
from mrt_verl.reward_manager import RECORD, STEP, VALIDATING, WRITER
from omegaconf import OmegaConf
from verl.experimental.agent_loop import AgentLoopOutput

from mrt_reward.training.records import Lapse, Record, Scored


class Base:
    """Stands for veRL's worker: a result from the reward loop arrives."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict[str, Any]) -> None:
        self.seen.append(kwargs)
        outputs[-1].reward_score = 1.0
        scored = Scored(0, (3,), np.array([0.25, 0.75]), cut_off=False)
        extra = {} if kwargs[VALIDATING] else {RECORD: Record(scored, prover="m@1")}
        outputs[-1].extra_fields["reward_extra_info"] = {"acc": 1.0, **extra}

    async def _run_agent_loop(self, sampling_params: Any, trajectory: Any, *, made: Any, **kwargs: Any) -> Any:
        outputs = [made]
        await self._compute_score(outputs, kwargs=kwargs)
        return outputs[-1]


class Worker(agent_loop.Marking, Base):
    async def run(self, made: Any, validate: bool = False) -> Any:
        return await self._run_agent_loop({}, {"validate": validate, "step": 3}, made=made, uid="u")


def output(mask: list[int]) -> AgentLoopOutput:
    metrics: Any = {}
    return AgentLoopOutput(prompt_ids=[1], response_ids=[5] * len(mask), response_mask=mask, metrics=metrics)


async def test_marks_are_made_in_training_alone_and_records_are_kept_once() -> None:
    worker = Worker()
    done = await worker.run(output([1] * 4))
    assert [index for index, _ in done.extra_fields[agent_loop.MARKS]] == [0, 1, 2]
    assert done.extra_fields["reward_extra_info"] == {"acc": 1.0}
    checked = await worker.run(output([1] * 4), True)
    assert agent_loop.MARKS not in checked.extra_fields
    assert [seen[VALIDATING] for seen in worker.seen] == [False, True]
    assert [seen[STEP] for seen in worker.seen] == [3, 3]
    assert [record.prover for record in await worker.mrt_records()] == ["m@1"]
    assert await worker.mrt_records() == []


async def test_a_sample_that_says_its_own_step_is_believed() -> None:
    # veRL's V1 trainer tells the steps of a whole batch as the trajectory's.
    worker = Worker()
    trajectory = {"validate": False, "step": [7, 8]}
    await worker._run_agent_loop({}, trajectory, made=output([1] * 4), global_steps=8)
    assert [seen[STEP] for seen in worker.seen] == [8]


async def test_a_sample_says_which_replica_wrote_it_where_the_replicas_prove() -> None:
    class Client:
        async def _acquire_server(self, request_id: str, **_: Any) -> tuple[str, str]:
            await asyncio.sleep(0)
            return f"host:{request_id}", "handle"

    class Writing(Base):
        llm_client: Any

        async def _run_agent_loop(self, sampling_params: Any, trajectory: Any, *, made: Any, **kwargs: Any) -> Any:
            assert await self.llm_client._acquire_server(kwargs["uid"]) == (f"host:{kwargs['uid']}", "handle")
            return await super()._run_agent_loop(sampling_params, trajectory, made=made, **kwargs)

    class WritingWorker(agent_loop.Marking, Writing):
        def __init__(self, url: str) -> None:
            super().__init__()
            self.config, self.llm_client = OmegaConf.create({"reward": {"mrt": {"url": url}}}), Client()

    for url, expected in (("rollout", ["host:0", "host:1", "host:2"]), ("http://127.0.0.1:9", [None] * 3)):
        worker = WritingWorker(url)
        step: dict[str, Any] = {"validate": False, "step": 1}
        await asyncio.gather(
            *(worker._run_agent_loop({}, step, made=output([1] * 4), uid=str(uid)) for uid in range(3))
        )
        assert sorted(worker.seen, key=lambda seen: seen["uid"]) == worker.seen
        assert [seen.get(WRITER) for seen in worker.seen] == expected


async def test_records_say_when_the_reward_was_there() -> None:
    worker = Worker()
    before = time.time()
    await worker.run(output([1] * 4))
    [record] = await worker.mrt_records()
    assert before <= record.rewarded_at <= time.time()


async def test_a_reward_that_the_agent_loop_gave_itself_has_no_progress() -> None:
    class Own(Base):
        async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict[str, Any]) -> None:
            outputs[-1].reward_score = 1.0

    class OwnWorker(agent_loop.Marking, Own):
        pass

    worker = OwnWorker()
    done = await worker._run_agent_loop({}, {"validate": False, "step": 1}, made=output([1] * 4))
    assert done.extra_fields[agent_loop.MARKS] == encode(Lapse.UNSUPPORTED, 4)
    [record] = await worker.mrt_records()
    assert "rewarded this trajectory itself" in record.reason


async def test_validation_beside_training_is_distinguished() -> None:
    worker = Worker()
    calls = [worker.run(output([1] * 4), index % 2 == 0) for index in range(6)]
    done = await asyncio.gather(*calls)
    assert [agent_loop.MARKS in each.extra_fields for each in done] == [False, True] * 3


def test_the_outputs_token_rewards_carry_the_marks() -> None:
    marked = output([1] * 4)
    marked.reward_score = 0.5
    marked.extra_fields[agent_loop.MARKS] = agent_loop.marks_of(
        Record(Scored(0, (3,), np.array([0.25, 0.75]), cut_off=False)), marked.response_mask
    )
    fields = {name: getattr(marked, name) for name in AgentLoopOutput.model_fields}
    dumped = agent_loop_v1.MarkedOutput.model_construct(_fields_set=set(marked.model_fields_set), **fields).as_dict()
    assert agent_loop.MARKS not in dumped["extra_fields"]
    reading = decode(dumped["rm_scores"].numpy())
    assert (reading.outcome, reading.scored is not None and reading.scored.ends) == (0.5, (3,))


def test_a_response_that_a_tool_ends_cannot_be_marked() -> None:
    record = Record(Scored(0, (2,), np.array([0.25, 0.75]), cut_off=False))
    reward = torch.zeros(1, 4)
    agent_loop.add_marks(reward, [agent_loop.marks_of(record, [1, 1, 1, 0])])
    assert decode(reward[0].numpy()).lapse is Lapse.UNSUPPORTED


def test_padded_batches_of_the_legacy_trainer_get_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = SimpleNamespace(batch={"rm_scores": torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]])})
    monkeypatch.setattr(agent_loop.AgentLoopWorker, "_postprocess", lambda *_, **__: batch)
    worker = object.__new__(agent_loop.MRTAgentLoopWorker)
    extra = {agent_loop.MARKS: [(0, -1e-12), (1, 0.5)]}
    data = worker._postprocess([SimpleNamespace(extra_fields=extra)])
    assert data.batch["rm_scores"][0].tolist() == pytest.approx([-1e-12, 0.5, 0.0, 1.0, 0.0])
    assert extra == {}
