"""Dense progress rewards for reasoning RL (MRT, arXiv 2503.07572)."""

from mrt_reward.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "__version__"]
