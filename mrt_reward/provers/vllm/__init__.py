"""The production engine: vLLM, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

__all__ = ["VLLMProver"]


def __getattr__(name: str) -> object:
    # Not at import: the engine's own process loads `steering` from here, and what needs no vLLM is tested without it.
    if name == "VLLMProver":
        from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415

        return VLLMProver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
