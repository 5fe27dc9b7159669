"""The embedded engine: a Hugging Face model in this process."""

from mrt_reward.provers.hf.prover import TransformersProver

__all__ = ["TransformersProver"]
