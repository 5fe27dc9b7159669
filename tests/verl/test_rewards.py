"""From a finished trajectory to marks on its tokens, with veRL's own reward loading and output."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mrt_verl import agent_loop, expand, service
from mrt_verl.reward_manager import RECORD, STEP, VALIDATING, WRITER
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl.protocol import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.utils.reward_score import default_compute_score

from mrt_reward.errors import TraceError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.records import Lapse, Prefixed, Record, Scored, number_of
from tests.server.conftest import threaded_server
from tests.verl.cpu.run import REWARD
from tests.verl.test_switch import SWITCH, composed, expanded

TEXT = "<think>\nOne.\n\nTwo.\n\nThree.\n\n</think>\n\nThe final answer is \\boxed{42}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as found:
        yield found


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


def manager(url: str, tokenizer: Any, *overrides: str) -> Any:
    config = expanded(
        url,
        "reward.mrt.segmenter=paragraphs",
        f"actor_rollout_ref.model.path={MODEL_DIR}",
        f"reward.custom_reward_function.path={REWARD}",
        *overrides,
    )
    return load_reward_manager(config, tokenizer)


def trajectory(tokenizer: Any, text: str = TEXT, num_outputs: int = 1, **columns: Any) -> DataProto:
    prompt = tokenizer.encode("6 times 7?", add_special_tokens=False)
    response = tokenizer.encode(text, add_special_tokens=False)
    ids = {
        "prompts": prompt,
        "responses": response,
        "attention_mask": [1] * (len(prompt) + len(response)),
        "input_ids": prompt + response,
    }
    batch = TensorDict({name: torch.tensor([row] * num_outputs) for name, row in ids.items()}, batch_size=num_outputs)
    rows: dict[str, Any] = {
        "data_source": "island",
        "raw_prompt": [{"role": "user", "content": "6 times 7?"}],
        "reward_model": {"ground_truth": "42"},
        "extra_info": {},
        "uid": "u",
        "prompt_len": len(prompt),
        "response_len": len(response),
        **columns,
    }
    filled: dict[str, Any] = {}
    for name, value in rows.items():
        filled[name] = np.empty(num_outputs, dtype=object)
        filled[name][:] = [value] * num_outputs
    return DataProto(batch=batch, non_tensor_batch=filled)


async def test_the_outcome_is_the_users_and_progress_stands_beside_it(url: str, tokenizer: Any) -> None:
    result = await manager(url, tokenizer).run_single(trajectory(tokenizer))
    assert result["reward_score"] == 1.0
    assert result["reward_extra_info"]["acc"] == 1.0
    record = result["reward_extra_info"][RECORD]
    assert isinstance(record.what, Scored), record
    assert record.what.value_P == pytest.approx([0.25, 0.5, 0.5, 1.0])
    ids = trajectory(tokenizer).batch["responses"][0].tolist()
    assert [tokenizer.decode(ids[s.start : s.end]).strip() for s in record.what.spans] == ["One.", "Two.", "Three."]


OWN = """
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

class Own(RewardManagerBase):
    async def run_single(self, data):
        return {"reward_score": 0.75, "reward_extra_info": {"mine": len(data)}}
"""
DAPO = [
    "reward.reward_manager.name=dapo",
    "+reward.reward_kwargs.overlong_buffer_cfg.enable=True",
    "+reward.reward_kwargs.overlong_buffer_cfg.len=8",
    "+reward.reward_kwargs.overlong_buffer_cfg.penalty_factor=1.0",
    "+reward.reward_kwargs.overlong_buffer_cfg.log=False",
    "+reward.reward_kwargs.max_resp_len=1024",
]
CUSTOM = ["reward.reward_manager.source=importlib", "reward.reward_manager.name=Own"]


@pytest.mark.parametrize(
    ("kind", "overrides", "score"),
    [
        ("NaiveRewardManager", [], 1.0),
        ("DAPORewardManager", DAPO, 1.0),
        ("RateLimitedRewardManager", ["reward.reward_manager.name=rate_limited"], 1.0),
        ("Own", CUSTOM, 0.75),
    ],
)
async def test_the_users_own_manager_gives_the_outcome(
    url: str, tokenizer: Any, tmp_path: Path, kind: str, overrides: list[str], score: float
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    given = [*overrides, f"reward.reward_manager.module.path={tmp_path}/own.py"] if kind == "Own" else overrides
    ours = manager(url, tokenizer, *given)
    assert type(ours._outcome).__name__ == kind
    result = await ours.run_single(trajectory(tokenizer))
    assert result["reward_score"] == score
    assert ("mine" if kind == "Own" else "acc") in result["reward_extra_info"]
    assert isinstance(result["reward_extra_info"][RECORD].what, Scored)


async def test_a_trajectory_is_scored_while_its_outcome_is_still_worked_out(
    url: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The outcome waits for the score's request, so one after the other would never end.
    ours = manager(url, tokenizer)
    asked = asyncio.Event()
    score, outcome = ours._scorer.score, ours._outcome.run_single

    async def scored(response: Any) -> Record:
        asked.set()
        return await score(response)

    async def waits(data: DataProto) -> dict[str, Any]:
        await asked.wait()
        return await outcome(data)

    ours._scorer = SimpleNamespace(score=scored)
    monkeypatch.setattr(ours._outcome, "run_single", waits)
    result = await asyncio.wait_for(ours.run_single(trajectory(tokenizer)), 60)
    assert result["reward_score"] == 1.0
    assert isinstance(result["reward_extra_info"][RECORD].what, Scored)


class Gated(ScriptedProver):
    """Proves nothing until it is let."""

    def __init__(self) -> None:
        super().__init__([0.25, 0.5, 0.5, 1.0])
        self.asked, self.gate = threading.Event(), threading.Event()

    async def prove(self, proof: Proof) -> Proven:
        self.asked.set()
        assert await asyncio.to_thread(self.gate.wait, 120)
        return await super().prove(proof)


async def test_nothing_blocks_the_event_loop_while_the_prover_is_slow(tokenizer: Any) -> None:
    prover = Gated()

    async def let() -> None:
        # In the loop that waits for the prover: were it blocked, this would never come to its end.
        assert await asyncio.to_thread(prover.asked.wait, 120)
        prover.gate.set()

    with threaded_server(prover) as slow:
        ours = manager(slow, tokenizer)
        letting = asyncio.create_task(let())
        calls = [ours.run_single(trajectory(tokenizer, uid=str(n))) for n in range(16)]
        results = await asyncio.wait_for(asyncio.gather(*calls), 120)
        await letting
    assert all(isinstance(result["reward_extra_info"][RECORD].what, Scored) for result in results)


async def test_coupled_answers_are_seeded_by_the_step_that_the_agent_loop_tells(tokenizer: Any) -> None:
    prover = ScriptedProver([0.25, 0.5, 0.5, 1.0])
    with threaded_server(prover) as url:
        ours = manager(url, tokenizer, "reward.mrt.estimator=rollouts", "reward.mrt.coupled=True")
        for step in (3, 3, 4):
            text = TEXT.replace("Two", f"Number {len(prover.proofs)}")
            result = await ours.run_single(trajectory(tokenizer, text, **{STEP: step}))
            assert isinstance(result["reward_extra_info"][RECORD].what, Scored)
    first, second, later = [{probe.seed for probe in proof.probes} for proof in prover.proofs]
    assert first == second
    assert first.isdisjoint(later)


async def test_how_long_the_outcome_waited_for_the_values_is_reported(tokenizer: Any) -> None:
    prover = Gated()
    with threaded_server(prover) as slow:
        ours = manager(slow, tokenizer)
        outcome = ours._outcome.run_single

        async def first(data: DataProto) -> dict[str, Any]:
            done = await outcome(data)
            prover.gate.set()
            return done

        ours._outcome = SimpleNamespace(run_single=first)
        result = await ours.run_single(trajectory(tokenizer))
        record = result["reward_extra_info"][RECORD]
        assert 0 < record.waited_s <= record.latency_s


async def test_the_replica_that_wrote_a_trajectory_is_asked_about_it(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = ScriptedProver([0.25, 0.5, 0.5, 1.0])
    with threaded_server(prover) as url:
        ours = manager("rollout", tokenizer)

        async def address() -> tuple[str, str]:
            return url, "a key"

        monkeypatch.setattr(service, "address", address)
        result = await ours.run_single(trajectory(tokenizer, TEXT, 1, **{WRITER: "10.0.0.7:41"}))
        assert isinstance(result["reward_extra_info"][RECORD].what, Scored)
        other = trajectory(tokenizer, TEXT.replace("Two", "Twice"), 1, **{WRITER: "10.0.0.7:41"})
        await ours.run_single(other)
    sessions = {proof.session for proof in prover.proofs}
    assert {session.split("#")[0] for session in sessions} == {"http://10.0.0.7:41"}
    assert len(sessions) == 2


async def test_the_pool_is_no_reward_model_of_the_users(tokenizer: Any) -> None:
    gpu = ["nnodes=1", "n_gpus_per_node=1", "rollout.tensor_model_parallel_size=1"]
    config = composed(
        SWITCH,
        "reward.mrt.url=pool",
        f"actor_rollout_ref.model.path={MODEL_DIR}",
        *(f"reward.reward_model.{each}" for each in gpu),
    )
    assert expand.expand(config)
    ours: Any = load_reward_manager(config, tokenizer, reward_router_address="router:1", reward_model_tokenizer=None)
    # veRL's own function, as without a pool, which is not told of any router.
    assert ours._outcome.compute_score is default_compute_score
    assert ours._outcome.reward_router_address is None


async def test_a_service_that_is_gone_is_a_lapse(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> tuple[str, str]:
        raise ValueError("no actor of this name")

    monkeypatch.setattr(service, "address", gone)
    result = await manager("rollout", tokenizer).run_single(trajectory(tokenizer))
    record = result["reward_extra_info"][RECORD]
    assert (record.what, "no actor of this name" in record.reason) == (Lapse.UNREACHABLE, True)


async def test_validation_never_reaches_the_prover(url: str, tokenizer: Any) -> None:
    result = await manager(url, tokenizer).run_single(trajectory(tokenizer, TEXT, 1, **{VALIDATING: True}))
    assert RECORD not in result["reward_extra_info"]


async def test_several_outputs_and_a_failing_server_are_lapses(url: str, tokenizer: Any) -> None:
    both = manager(url, tokenizer)
    result = await both.run_single(trajectory(tokenizer, num_outputs=2))
    assert result["reward_extra_info"][RECORD].what is Lapse.UNSUPPORTED
    result = await both.run_single(trajectory(tokenizer, reward_model={"ground_truth": {"tests": []}}))
    assert result["reward_extra_info"][RECORD].what is Lapse.REJECTED
    many = trajectory(tokenizer, reward_model={"ground_truth": np.array(["42", "42.0"])})
    result = await both.run_single(many)
    assert isinstance(result["reward_extra_info"][RECORD].what, Scored)


async def test_rows_of_prefixes_say_their_group_and_ask_no_prover(tokenizer: Any) -> None:
    # No server is there: mode prefix never asks one.
    rows = manager("http://127.0.0.1:9", tokenizer, "reward.mrt.mode=prefix")
    columns: Any = {"mrt_group": "g", "mrt_value_prefix": 0.25, "mrt_stop": True}
    result = await rows.run_single(trajectory(tokenizer, **columns))
    what = result["reward_extra_info"][RECORD].what
    assert (what.group, what.value, what.stop) == (number_of("g"), 0.25, True)
    ids = trajectory(tokenizer).batch["responses"][0].tolist()
    assert tokenizer.decode(ids[what.start :]).startswith("</think>")
    marks = agent_loop.marks_of(result["reward_extra_info"][RECORD], [1] * len(ids))
    assert [index for index, _ in marks] == [0, what.start]
    unknown = await rows.run_single(trajectory(tokenizer, mrt_group="g", mrt_value_prefix=float("nan")))
    assert unknown["reward_extra_info"][RECORD].what == Prefixed(number_of("g"))
    with pytest.raises(TraceError, match="has no mrt_group, which mode=prefix needs"):
        await rows.run_single(trajectory(tokenizer))


async def test_an_error_of_the_users_reward_is_the_users(url: str, tokenizer: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def compute_score(**_):\n    raise RuntimeError('mine')\n")
    theirs = manager(url, tokenizer, f"reward.custom_reward_function.path={broken}")
    with pytest.raises(RuntimeError, match="mine"):
        await theirs.run_single(trajectory(tokenizer))
