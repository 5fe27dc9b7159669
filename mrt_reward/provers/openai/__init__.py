"""An engine that somebody else runs, over the completions protocol of OpenAI."""

from mrt_reward.provers.openai.prover import OpenAIProver

__all__ = ["OpenAIProver"]
