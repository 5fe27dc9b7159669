"""Who scores a trainer's completions: servers, or the policy that it trains."""

from __future__ import annotations

from typing import Any

from mrt_reward.errors import ConfigError
from mrt_reward.in_process import PolicyScorer
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.scoring import BatchScorer, TraceScorer
from mrt_reward.training.settings import TrainingSettings
from mrt_trl.checks import WHERE


def scorer_of(trainer: Any, settings: TrainingSettings) -> BatchScorer:  # noqa: ANN401 - a trainer of transformers
    """What scores for a trainer; a policy that proves itself is seen to prove rightly.

    Args:
        trainer: made, and not started.
        settings: for `url`, and how responses are scored.

    Raises:
        ConfigError: the policy cannot prove; says what to use instead.

    """
    tokenizer: Any = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    if not settings.by_policy:
        return TraceScorer(settings, PolicyTokens.of(tokenizer, tokenizer.name_or_path))
    if why := _sharded(trainer):
        raise ConfigError(
            f"{WHERE}.url=policy needs the policy's whole weights in each process, and {why} shards them: start "
            f"`mrt-reward serve` and set {WHERE}.url to it, with {WHERE}.follow_steps where it is to follow the policy",
            param=f"{WHERE}.url",
        )
    return PolicyScorer(trainer.accelerator.unwrap_model(trainer.model), tokenizer, settings, WHERE)


def _sharded(trainer: Any) -> str:  # noqa: ANN401 - a trainer of transformers
    """What will shard the policy's weights once training starts; empty where nothing does."""
    if trainer.is_fsdp_enabled:
        return "FSDP"
    if trainer.is_deepspeed_enabled:
        zero: dict[str, Any] = trainer.accelerator.state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        return "DeepSpeed's ZeRO-3" if zero.get("stage") == 3 else ""
    return ""
