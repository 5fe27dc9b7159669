"""What the thread of a network needs to know: how many CPU threads share one operation, and which device is its own."""

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


def begin(num_threads: int, device: torch.device) -> None:
    """Prepare the calling thread: torch counts threads, and chooses a GPU, for each thread by itself."""
    torch.set_num_threads(num_threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
