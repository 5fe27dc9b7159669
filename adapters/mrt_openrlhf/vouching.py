"""What OpenRLHF's policy says of weights that it saves, by the forward that gives log-probabilities for training."""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.exceptions import RayError

from mrt_reward.training.vouching import WeightsCanary, canary_tokens, unvouched, vouched


def canary(trainer: Any) -> WeightsCanary | None:  # noqa: ANN401 - one of OpenRLHF's trainers
    """How probable a known text is by the policy's weights of now; None, and a line in the log, where it is unknown."""
    args, group = trainer.args, trainer.actor_model_group
    if args.rollout.temperature != 1.0:
        return unvouched(f"OpenRLHF's are of --rollout.temperature {args.rollout.temperature:g}, and 1 is compared")
    if args.train.enable_ema:
        return unvouched("--train.enable_ema saves an average of weights that nothing is computed with")
    tokens = canary_tokens(lambda text: trainer.tokenizer.encode(text, add_special_tokens=False))
    # Each process that holds a part of the policy must take part.
    num_copies = len(group._actor_handlers) // group.duplicate_actors  # noqa: SLF001 - pinned in the contract tests
    ids, answer = torch.tensor([tokens.ids]), torch.ones(1, len(tokens.answer_ids), dtype=torch.long)
    given = {"sequences": ids, "action_mask": answer, "attention_mask": torch.ones_like(ids)}
    batch = {name: [tensor] * num_copies for name, tensor in given.items()}
    try:
        [first, *_] = ray.get(group.async_run_method_batch(method_name="forward", **batch))
    except RayError as error:
        return unvouched(f"OpenRLHF's policy does not answer: {error}")
    return vouched(tokens, float(first[0].sum()), args.ds.param_dtype)
