"""What OpenRLHF's policy says of the weights that it saves."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mrt_openrlhf import vouching
from openrlhf.models import Actor
from ray.exceptions import RayError
from transformers import AutoModelForCausalLM, AutoTokenizer

from mrt_reward.in_process import policy_canary
from mrt_reward.mini import MODEL_DIR


class Group:
    """OpenRLHF's group of processes, here two of which each has a copy: its own forward, and no Ray around it."""

    duplicate_actors = 1
    _actor_handlers = ("first", "second")

    def __init__(self, model: Any) -> None:
        self.actor = Actor(model)
        self.actor.packing_samples = False
        self.actor.temperature = 1.0
        self.num_asked: list[int] = []

    def async_run_method_batch(self, method_name: str, **batch: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        assert method_name == "forward"
        rows = [dict(zip(batch, each, strict=True)) for each in zip(*batch.values(), strict=True)]
        self.num_asked.append(len(rows))
        with torch.no_grad():
            return [[self.actor(row["sequences"], row["action_mask"], row["attention_mask"])] for row in rows]


def made(**changed: Any) -> Any:
    """A trainer as far as its policy is concerned."""
    given = {"temperature": 1.0, "ema": False, **changed}
    args = SimpleNamespace(
        rollout=SimpleNamespace(temperature=given["temperature"]),
        train=SimpleNamespace(enable_ema=given["ema"]),
        ds=SimpleNamespace(param_dtype="bf16"),
    )
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    return SimpleNamespace(
        args=args, tokenizer=AutoTokenizer.from_pretrained(MODEL_DIR), actor_model_group=Group(model), model=model
    )


@pytest.fixture(autouse=True)
def _answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouching.ray, "get", lambda reported: reported)


def test_the_forward_of_training_says_what_a_plain_one_does() -> None:
    trainer = made()
    canary, plain = vouching.canary(trainer), policy_canary(trainer.model, trainer.tokenizer)
    assert canary is not None
    assert plain is not None
    assert (canary.prompt_ids, canary.answer_ids) == (plain.prompt_ids, plain.answer_ids)
    assert canary.logprob == pytest.approx(plain.logprob, abs=1e-4)
    assert canary.precision == "bfloat16"
    # Each process that may hold a part of the policy was asked.
    assert trainer.actor_model_group.num_asked == [2]


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"temperature": 0.7}, "--rollout.temperature 0.7, and 1 is compared"), ({"ema": True}, "--train.enable_ema")],
)
def test_a_policy_that_says_something_else_does_not_vouch(
    changed: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = made(**changed)
    assert vouching.canary(trainer) is None
    assert why in caplog.text
    assert trainer.actor_model_group.num_asked == []


def test_a_policy_that_does_not_answer_costs_the_canary_and_not_the_weights(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(reported: Any) -> Any:
        raise RayError("gone")

    monkeypatch.setattr(vouching.ray, "get", gone)
    assert vouching.canary(made()) is None
    assert "does not answer: gone" in caplog.text
