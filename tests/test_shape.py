"""The shape of the house that tests can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.protocols import Prover

ROOT = Path(__file__).parent.parent
SMALL = 60
"""Lines up to which a module may be tested by its neighbours' tests alone."""


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / "mrt_reward" / package).rglob("*.py") if path.name != "__init__.py")


def own_tests_of(module: Path) -> list[Path]:
    """Where a module's own tests may stand: at its place in the mirror, or in its framework's suite."""
    place = module.relative_to(ROOT / "mrt_reward")
    name = f"test_{place.name}"
    return [ROOT / "tests" / place.parent / name, ROOT / "tests" / place.parent.name / name]


@pytest.mark.parametrize("package", ["provers"])
def test_every_module_that_is_not_small_has_its_own_tests(package: str) -> None:
    large = [module for module in modules(package) if len(module.read_text(encoding="utf-8").splitlines()) > SMALL]
    assert len(large) > 15
    assert [str(module) for module in large if not any(path.is_file() for path in own_tests_of(module))] == []


def test_a_prover_has_at_most_six_members() -> None:
    assert sorted(name for name in vars(Prover) if not name.startswith("_")) == [
        "check",
        "close",
        "info",
        "num_slots",
        "prove",
        "tokenizer",
    ]
