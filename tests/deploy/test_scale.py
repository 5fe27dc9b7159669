"""What deploy/scale.md computes follows from what it says it is computed from."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from mrt_reward.benchmark.capacity import Capacity
from mrt_reward.benchmark.workload import WorkSpec

PAGE = Path(__file__).parents[2] / "deploy" / "scale.md"
GIB = 2**30
PARAMETERS = {"1.7": 1.72e9, "4": 4.02e9, "8": 8.19e9, "14": 14.8e9, "32": 32.8e9}
"""As the models' cards say."""


def rows(heading: str) -> dict[str, list[str]]:
    """Rows of the table below a heading that begin with a size in B, by that size."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if " B" in line[:8]]
    return {cells[0].partition(" ")[0]: cells for cells in lines if line_has_size(cells[0])}


def line_has_size(cell: str) -> bool:
    return cell.partition(" ")[0] in PARAMETERS


def number(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0].rstrip(":").replace(",", ""))


STEP = WorkSpec(problems=128, traces=8, episodes=12, episode_tokens=1365)


@pytest.mark.parametrize("size", PARAMETERS)
def test_seconds_of_a_step_are_those_of_the_plan(size: str) -> None:
    prover, rate, one, eight, num_gpus = rows("How many provers")[size]
    shape = re.search(r"--params-b ([\d.]+) --layers (\d+) --hidden (\d+)", prover)
    assert shape is not None
    plan = Capacity(STEP, params_b=float(shape[1]), layers=int(shape[2]), hidden=int(shape[3]))
    assert number(rate) == float(f"{plan.prefill_per_s:.3g}")
    assert number(one) == round(plan.gpu_seconds)
    assert number(eight) == round(plan.gpu_seconds / 8)
    assert number(num_gpus) == math.ceil(plan.gpu_seconds / 60)


def test_both_pages_plan_the_same_step() -> None:
    flags = f"--problems {STEP.problems} --traces {STEP.traces} --episodes {STEP.episodes}"
    flags = f"{flags} --episode-tokens {STEP.episode_tokens}"
    plan = Capacity(STEP)
    for page in (PAGE, PAGE.with_name("README.md")):
        text = page.read_text(encoding="utf-8")
        assert f"mrt-reward bench --plan {flags}" in text
        assert f"{STEP.num_prefixes:,}" in text
        assert f"{plan.needed_tokens / 1e6:.1f} M" in text
        assert f"{float(f'{plan.prefill_per_s:.3g}'):,.0f}" in text
        assert f"{plan.gpu_seconds:.0f} s" in text


@pytest.mark.parametrize("size", PARAMETERS)
def test_memory_follows_from_parameters_layers_and_heads(size: str) -> None:
    name, weights, cache, held, share = rows("Memory")[size]
    layers = int(name.split(", ")[1].split()[0])
    weights_gib, trace_gib = 2 * PARAMETERS[size] / GIB, 2 * layers * 8 * 128 * 2 * 16384 / GIB
    assert number(weights) == pytest.approx(weights_gib, abs=0.06)
    assert number(cache) == pytest.approx(trace_gib)
    assert number(held) == int((0.9 * 80 - 4 - weights_gib) / trace_gib)
    wanted = (weights_gib + 4 + 4 * trace_gib) / 80
    assert number(share) == pytest.approx(wanted, abs=0.006) if wanted < 1 else share == "two GPUs"
    if wanted > 1:
        assert f"which hold {int((2 * (0.9 * 80 - 4) - weights_gib) / trace_gib)}" in held
