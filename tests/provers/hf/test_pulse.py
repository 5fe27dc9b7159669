"""Whether the worker gets on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.hf.pulse import Pulse
from tests.provers.hf.plain import make_proof


def test_nothing_beats_outside_of_work() -> None:
    pulse = Pulse()
    pulse.beat()
    assert pulse.silent_s is None
    pulse.begin()
    assert pulse.silent_s is not None
    pulse.end()
    assert pulse.silent_s is None


def test_every_layer_of_a_model_is_a_beat() -> None:
    class Counting(Pulse):
        beats = 0

        def beat(self) -> None:
            self.beats += 1

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    pulse, network = Counting(), Network()
    pulse.follow(network)
    network(torch.zeros(1, 2))
    assert pulse.beats == 3


async def test_a_long_proof_beats_all_along(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), threads=1))
    seen: list[float | None] = []
    proof = make_proof(list(range(100, 3000, 10)))
    proving = asyncio.create_task(prover.prove(proof))
    while not proving.done():
        seen.append(prover.silent_s)
        await asyncio.sleep(0.001)
    await proving
    working = [silent_s for silent_s in seen if silent_s is not None]
    assert working, "it was seen at work"
    assert prover.silent_s is None, "and then at rest"
    await prover.close()
