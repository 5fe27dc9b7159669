"""What deploy/scale.md computes follows from what it says it is computed from."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from mrt_reward.benchmark.capacity import PUBLISHED_SHARE, Capacity
from mrt_reward.benchmark.workload import WorkSpec

PAGE = Path(__file__).parents[2] / "deploy" / "scale.md"
GIB = 2**30
PARAMETERS = {"1.7": 1.72e9, "4": 4.02e9, "8": 8.19e9, "14": 14.8e9, "32": 32.8e9}
"""As the models' cards say."""

SHAPES = {
    "1.7": (28, 2048, 6144, 16),
    "4": (36, 2560, 9728, 32),
    "8": (36, 4096, 12288, 32),
    "14": (40, 5120, 17408, 40),
    "32": (64, 5120, 25600, 64),
}
"""Layers, hidden size, intermediate size and heads of queries of each `config.json`; heads are of 128, 8 of keys."""
VOCABULARY = 151_936


def rows(heading: str) -> dict[str, list[str]]:
    """Rows of the table below a heading that begin with a size in B, by that size."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if " B" in line[:8]]
    return {cells[0].partition(" ")[0]: cells for cells in lines if line_has_size(cells[0])}


def line_has_size(cell: str) -> bool:
    return cell.partition(" ")[0] in PARAMETERS


def number(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0].rstrip(":").replace(",", ""))


STEP = WorkSpec(problems=128, traces=8, episodes=8, episode_tokens=2047)


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


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_layers_and_widths_are_those_of_the_configuration(size: str) -> None:
    layers, hidden, between, heads = SHAPES[size]
    # Queries and output, keys and values, and the three matrices of the network between.
    inner = layers * hidden * (2 * heads * 128 + 2 * 8 * 128 + 3 * between)
    # Up to 4 B the embeddings are the head as well.
    assert inner + VOCABULARY * hidden * (1 if size in {"1.7", "4"} else 2) == pytest.approx(
        PARAMETERS[size], rel=0.003
    )
    shape = re.search(r"--params-b ([\d.]+) --layers (\d+) --hidden (\d+)", rows("How many provers")[size][0])
    assert shape is not None
    assert (int(shape[2]), int(shape[3])) == (layers, heads * 128)
    assert inner / 1e9 == pytest.approx(float(shape[1]), rel=0.01)


def test_the_published_prefill_stands_beside_the_assumption() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"{3_200_000 / 386.80:,.0f} tokens a second" in text
    theirs = Capacity(WorkSpec(episodes=1, episode_tokens=32_000), params_b=13.2, layers=40, hidden=5120)
    assert f"{theirs.prefill_per_s:,.0f}" in text
    slower = Capacity(STEP, utilisation=PUBLISHED_SHARE)
    assert f"{Capacity(STEP).gpu_seconds:.0f} s become {slower.gpu_seconds:.0f} s" in text
    assert f"`--utilisation {PUBLISHED_SHARE}`" in text


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
