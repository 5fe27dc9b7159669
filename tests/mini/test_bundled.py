"""Which problems the bundled models know."""

from __future__ import annotations

import pytest

from mrt_reward.mini.bundled import BUNDLED, is_foreign


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_model_knows_its_own_problems_and_no_others(name: str) -> None:
    [problem] = BUNDLED[name].sample(1, 0)
    assert not is_foreign(f"{name}@0123", problem.text)
    assert not is_foreign(f"{name}@0123", f"<|user|>{problem.text}<|assistant|>")
    assert is_foreign(f"{name}@0123", "What is 6 times 7?")


@pytest.mark.parametrize("prover", ["Qwen3-8B@0123", "MiniCPM@0123", "scripted@1", "unknown", None])
def test_other_provers_know_what_they_know(prover: str | None) -> None:
    assert not is_foreign(prover, "What is 6 times 7?")
