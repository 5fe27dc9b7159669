"""Dense progress rewards for reasoning RL (MRT, arXiv 2503.07572)."""

from mrt_reward.api import advantages, score
from mrt_reward.client import AsyncClient, Client
from mrt_reward.version import __version__

__all__ = ["AsyncClient", "Client", "__version__", "advantages", "score"]
