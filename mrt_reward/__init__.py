"""Dense progress rewards for reasoning RL (MRT, arXiv 2503.07572)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mrt_reward.version import __version__

if TYPE_CHECKING:
    from mrt_reward.api import advantages, score
    from mrt_reward.client import AsyncClient, Client

_HOMES = {
    "AsyncClient": "mrt_reward.client",
    "Client": "mrt_reward.client",
    "advantages": "mrt_reward.api",
    "score": "mrt_reward.api",
}

__all__ = ["AsyncClient", "Client", "__version__", "advantages", "score"]


def __getattr__(name: str) -> object:
    """Load the public names when they are first asked for: grading processes start without a client."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
