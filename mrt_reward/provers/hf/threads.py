"""How many CPU threads share one operation of the network."""

from __future__ import annotations

import torch

SMALL_PARAMETERS = 100_000_000
"""Below it an operation is too short to be shared: on a busy machine its threads wait longer than they work."""


def num_threads(network: torch.nn.Module, asked: int | None) -> int:
    """What was asked for; else 1 for a small network, and for others torch's own choice."""
    if asked is not None:
        return asked
    num_parameters = sum(weights.numel() for weights in network.parameters())
    return 1 if num_parameters < SMALL_PARAMETERS else torch.get_num_threads()
