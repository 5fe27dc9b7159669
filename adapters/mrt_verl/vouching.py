"""What veRL's replicas say of the weights that the trainer gave them, for servers that take the same ones from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import ray
from omegaconf import DictConfig
from ray.exceptions import RayError

from mrt_reward.training.vouching import CanaryTokens, WeightsCanary, canary_tokens, unvouched, vouched
from mrt_verl.engines import is_one_step_off

NUM_TOKENS = 16
"""That a replica writes."""

AS_IT_IS = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
"""Sampling that changes no probability."""

WAIT_S = 60.0


async def vouch(tokenizer: Any, client: Any) -> tuple[CanaryTokens, Any]:  # noqa: ANN401 - of transformers and of veRL
    """Some tokens after the known text, as a replica wrote them, and its `TokenOutput`, which has log-probabilities."""
    tokens = canary_tokens(lambda text: tokenizer.encode(text, add_special_tokens=False))
    sampling = {**AS_IT_IS, "logprobs": True, "max_tokens": NUM_TOKENS, "ignore_eos": True}
    output = await client.generate(uuid4().hex, prompt_ids=list(tokens.prompt_ids), sampling_params=sampling)
    return replace(tokens, answer_ids=tuple(output.token_ids)), output


def canary(config: DictConfig, step: int, workers: Sequence[Any]) -> WeightsCanary | None:
    """How probable that is by the weights of a step; None, and a line in the log, where that is not known.

    Args:
        config: of the trainer.
        step: whose weights are handed over.
        workers: of the agent loop.

    """
    rollout = config.actor_rollout_ref.rollout
    if is_one_step_off(config):
        # It names weights by the step that they write for, not by the one that made them.
        return unvouched("one step off, the replicas have the weights of the step before")
    if quantization := rollout.get("quantization"):
        return unvouched(f"actor_rollout_ref.rollout.quantization={quantization} changes what replicas say")
    if str(rollout.get("logprobs_mode", "")).endswith("logits"):
        return unvouched(f"actor_rollout_ref.rollout.logprobs_mode={rollout.logprobs_mode} tells no probabilities")
    try:
        tokens, output = ray.get(workers[0].mrt_vouch.remote(), timeout=WAIT_S)
    except RayError as error:
        return unvouched(f"no replica answers: {error}")
    if (found := {output.extra_fields.get(f"{end}_global_steps") for end in ("min", "max")}) != {step}:
        return unvouched(f"the replicas have weights of steps {found}, and those of step {step} are handed over")
    return vouched(tokens, float(sum(output.log_probs or [float("nan")])), str(rollout.dtype))
