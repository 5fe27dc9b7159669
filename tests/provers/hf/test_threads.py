"""How many threads the worker takes: of the model's size, or as asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.hf.threads import SMALL_PARAMETERS, num_threads


def network(num_parameters: int) -> torch.nn.Module:
    with torch.device("meta"):
        return torch.nn.Linear(num_parameters, 1, bias=False)


def test_a_small_network_takes_one_thread_and_a_large_one_torchs_own_choice() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert num_threads(network(SMALL_PARAMETERS - 1), None) == 1
        assert num_threads(network(SMALL_PARAMETERS), None) == 3
    finally:
        torch.set_num_threads(before)


def test_what_was_asked_for_holds_for_any_size() -> None:
    assert num_threads(network(10), 5) == 5
    assert num_threads(network(SMALL_PARAMETERS), 2) == 2


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (2, 2)])
async def test_the_worker_computes_with_that_many_and_the_engine_says_so(
    qwen_dir: Path, asked: int | None, expected: int
) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), threads=asked))
    seen: list[int] = []
    prover.network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    await prover.check()
    await prover.close()
    assert set(seen) == {expected}
    assert prover.info.num_threads == expected
