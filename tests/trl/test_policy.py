"""TRL trains without a server: the policy proves in each process, with or without an adapter."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate import FullyShardedDataParallelPlugin
from mrt_trl.scoring import scorer_of
from peft import LoraConfig

from mrt_reward import in_process
from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import BatchScorer
from mrt_reward.training.settings import TrainingSettings
from tests.trl.policy import TEXT, Recorded, script, scripted_problems, steps_of, trainer
from tests.trl.ranks import TEXTS, train
from tests.trl.test_ranks import run

SETTINGS = TrainingSettings(url="policy")


class Watched:
    """A scorer that keeps what it was asked and said, and the weights at that time, an adapter merged into them."""

    def __init__(self, made: Recorded, folder: Path) -> None:
        self.inner: BatchScorer = made._mrt.scorer
        self.tokens = self.inner.tokens
        self.made, self.folder = made, folder
        self.steps: list[tuple[Path, list[Response], list[Record]]] = []

    async def score_all(self, responses: Sequence[Response]) -> list[Record]:
        at = self.folder / f"at-{len(self.steps)}"
        model: Any = copy.deepcopy(self.made.model)
        merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        merged.save_pretrained(at)
        self.made.processing_class.save_pretrained(at)  # type: ignore[union-attr]
        records = await self.inner.score_all(responses)
        self.steps.append((at, list(responses), records))
        return records

    async def close(self) -> None:
        await self.inner.close()

    async def again(self, index: int) -> list[Record]:
        """The same of a service whose prover has the weights of a step from disk."""
        at, responses, _ = self.steps[index]
        settings = replace(self.made._mrt.settings, url="http://127.0.0.1:1")
        scorer, service = in_process.scorer_and_service(settings, self.tokens, load_settings(model=str(at)))
        records = await scorer.score_all(responses)
        await scorer.close()
        await service.close()
        return records


def values(records: Sequence[Record]) -> list[float]:
    assert {record.reason for record in records} == {""}
    return [value for record in records if record.scored for value in record.scored.value_P.tolist()]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True])
def test_a_run_without_a_server_is_paid_what_its_own_weights_say(tmp_path: Path, adapter: bool) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.5, task_type="CAUSAL_LM")
    made = trainer(
        tmp_path,
        "policy",
        {"baseline": "group"},
        rollout_func=script(*TEXTS),
        train_dataset=scripted_problems(),
        max_steps=2,
        learning_rate=1e-2,
        gradient_checkpointing=True,
        **({"peft_config": lora} if adapter else {}),
    )
    watched = Watched(made, tmp_path)
    made._mrt = replace(made._mrt, scorer=watched)
    made.train()
    for index, (_, _, records) in enumerate(watched.steps):
        assert {record.prover for record in records} == {f"policy@{index}"}
        assert values(records) == pytest.approx(values(asyncio.run(watched.again(index))), abs=1e-5)
    assert [len(records) for _, _, records in watched.steps] == [4, 4]
    first, second = (np.array(values(records)) for _, _, records in watched.steps)
    assert np.abs(first - second).max() > 1e-4
    assert made.model.training  # type: ignore[union-attr]
    for step in steps_of(made):
        assert (step["mrt/traces/scored"], step["mrt/failed/share"]) == (4, 0)
        assert 0 < step["mrt/prover/overhead_s"] < step["step_time"]
        assert step["mrt/prover/computed_tokens"] > 0
        assert step["grad_norm"] > 0


@pytest.mark.slow
def test_each_process_proves_its_own_rows_and_all_are_paid_as_in_one(tmp_path: Path) -> None:
    status, output = run(tmp_path, "policy", "train")
    [alone] = (made := train(tmp_path / "alone", "policy", TEXTS, 4)).kept
    assert status == [0, 0]
    together = [row for each in output for row in each["advantages"]]
    assert len(together) == 4
    for row, (found, length) in enumerate(zip(together, alone.lengths, strict=True)):
        assert found == pytest.approx(alone.advantages[row, :length].tolist(), abs=1e-5)
    assert output[0]["metrics"]["mrt/value/last"] == pytest.approx(steps_of(made)[0]["mrt/value/last"], abs=1e-6)


def test_a_reward_that_fails_leaves_the_policy_as_it_was(tmp_path: Path) -> None:
    def broken(**_: Any) -> list[float]:
        raise ZeroDivisionError

    made = trainer(
        tmp_path, "policy", rollout_func=script(TEXT), train_dataset=scripted_problems(), reward_funcs=broken
    )
    with pytest.raises(ZeroDivisionError):
        made.train()
    assert made.model.training  # type: ignore[union-attr]
    assert made.model.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def sharding(**plugins: Any) -> Any:
    """A trainer as far as its sharding is concerned."""
    return SimpleNamespace(
        processing_class=None,
        accelerator=SimpleNamespace(state=SimpleNamespace(**plugins)),
        is_fsdp_enabled="fsdp_plugin" in plugins,
        is_deepspeed_enabled="deepspeed_plugin" in plugins,
    )


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"fsdp_plugin": FullyShardedDataParallelPlugin(state_dict_type="FULL_STATE_DICT")}, "FSDP"),
        (
            {"deepspeed_plugin": SimpleNamespace(deepspeed_config={"zero_optimization": {"stage": 3}})},
            "DeepSpeed's ZeRO-3",
        ),
    ],
)
def test_a_sharded_policy_is_reported_to_use_a_server(plugins: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"whole weights in each process, and {message} shards them: start .*serve"):
        scorer_of(sharding(**plugins), SETTINGS)


def test_another_prover_is_refused_by_the_name_of_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MRT_REWARD_MODEL", "mini-deep")
    with pytest.raises(ConfigError, match=r"mrt\.url=policy proves with the policy itself, and model is set"):
        trainer(tmp_path, "policy", train_dataset=scripted_problems())
    with pytest.raises(ConfigError, match=r"mrt\.url=policy asks no server, and mrt\.follow_steps=2"):
        trainer(
            tmp_path, "policy", {"follow_steps": 2}, train_dataset=scripted_problems(),
            save_strategy="steps", save_steps=2,
        )  # fmt: skip
