"""What deploy/scale.md computes follows from what it says it is computed from."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("size", PARAMETERS)
def test_seconds_of_a_step_follow_from_operations(size: str) -> None:
    _, rate, one, eight = rows("How many provers")[size]
    tokens_per_s = 0.4 * 989e12 / (2 * PARAMETERS[size])
    assert number(rate) == pytest.approx(tokens_per_s, rel=0.05)
    assert number(one) == pytest.approx(512 * 8000 / tokens_per_s, abs=1)
    assert number(eight) == pytest.approx(512 * 8000 / tokens_per_s / 8, abs=1)


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
