"""What replicas say of the weights that they have, for servers that take the same ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from mrt_verl import vouching
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayError
from transformers import AutoTokenizer
from verl.workers.rollout.replica import TokenOutput

from mrt_reward.mini import MODEL_DIR
from mrt_reward.training.vouching import CanaryTokens, canary_tokens

ASKED = CanaryTokens((1, 2), (3, 4))


class Worker:
    """Handle of a worker of the agent loop, whose replica wrote with the weights of these steps."""

    def __init__(self, *steps: int | None) -> None:
        self.steps = steps
        self.mrt_vouch = self

    def remote(self) -> Any:
        extra = {"min_global_steps": self.steps[0], "max_global_steps": self.steps[-1]}
        return ASKED, TokenOutput(token_ids=[3, 4], log_probs=[-0.25, -0.5], extra_fields=extra)


def config(**rollout: Any) -> DictConfig:
    return OmegaConf.create({"actor_rollout_ref": {"rollout": {"dtype": "float32", **rollout}}})


@pytest.fixture(autouse=True)
def _answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouching.ray, "get", lambda reported, timeout: reported)


async def test_a_replica_writes_after_the_known_text_with_probabilities_as_they_are() -> None:
    asked: list[dict[str, Any]] = []

    class Client:
        async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
            asked.append({"prompt_ids": prompt_ids, **sampling_params})
            return TokenOutput(token_ids=[7, 8], log_probs=[-1.0, -2.0])

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    reported, output = await vouching.vouch(tokenizer, Client())
    known = canary_tokens(lambda text: tokenizer.encode(text, add_special_tokens=False))
    assert reported == CanaryTokens(known.prompt_ids, (7, 8))
    assert output.log_probs == [-1.0, -2.0]
    assert asked == [
        {
            "prompt_ids": list(known.prompt_ids), "temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True,
            "repetition_penalty": 1.0, "max_tokens": vouching.NUM_TOKENS, "ignore_eos": True,
        }
    ]  # fmt: skip


def test_what_a_replica_wrote_with_the_weights_of_the_step_is_the_canary() -> None:
    canary = vouching.canary(config(), 4, [Worker(4)])
    assert canary is not None
    assert (canary.prompt_ids, canary.answer_ids) == ((1, 2), (3, 4))
    assert (canary.logprob, canary.precision) == (-0.75, "float32")


@pytest.mark.parametrize(
    ("steps", "rollout", "why"),
    [
        ((3,), {}, r"weights of steps \{3\}, and those of step 4 are handed over"),
        ((3, 4), {}, "weights of steps"),
        ((None,), {}, r"weights of steps \{None\}"),
        ((4,), {"quantization": "fp8"}, "quantization=fp8 changes"),
        ((4,), {"logprobs_mode": "raw_logits"}, "raw_logits tells no probabilities"),
    ],
)
def test_replicas_that_may_say_something_else_are_not_asked_to_vouch(
    steps: tuple[int | None, ...], rollout: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert vouching.canary(config(**rollout), 4, [Worker(*steps)]) is None
    [reported] = caplog.messages
    assert re.search(why, reported)


def test_one_step_off_a_replica_names_other_weights_than_it_has_and_is_not_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    apart = OmegaConf.create({**config(), "rollout": {"nnodes": 1}})
    assert vouching.canary(apart, 4, [Worker(4)]) is None
    assert "one step off, the replicas have the weights of the step before" in caplog.text


def test_a_replica_that_does_not_answer_costs_the_canary_and_not_the_weights(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(reported: Any, timeout: float) -> Any:
        raise RayError("gone")

    monkeypatch.setattr(vouching.ray, "get", gone)
    assert vouching.canary(config(), 4, [Worker(4)]) is None
    assert "no replica answers: gone" in caplog.text


def test_a_replica_that_tells_no_probabilities_does_not_vouch(caplog: pytest.LogCaptureFixture) -> None:
    class Silent(Worker):
        def remote(self) -> Any:
            asked, output = super().remote()
            return asked, output.model_copy(update={"log_probs": None})

    assert vouching.canary(config(), 4, [Silent(4)]) is None
    assert "log-probability nan" in caplog.text
