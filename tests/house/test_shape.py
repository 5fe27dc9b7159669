"""The shape of the code, held."""

from __future__ import annotations

from mrt_reward.protocols import Prover
from tests.house import shape

MIRRORED = ("server", "service", "text", "client", "provers")


def test_files_and_functions_are_short_and_take_few_parameters() -> None:
    assert shape.long_files(300) == []
    assert shape.p90(shape.function_lengths()) <= 20
    assert len(shape.wide_functions(5)) <= 8
    assert shape.typed_dicts() == []


def test_many_parameters_are_allowed_by_folder_to_the_command_line_alone() -> None:
    lines = (shape.ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" =")[0] for line in lines if "PLR0913" in line] == ['"mrt_reward/cli/**"']


def test_anything_is_caught_at_a_few_boundaries_only() -> None:
    assert len(shape.broad_excepts()) <= 8


def test_a_prover_has_six_members() -> None:
    members = sorted(name for name in vars(Prover) if not name.startswith("_"))
    assert members == ["check", "close", "info", "num_slots", "prove", "tokenizer"]


def test_a_scored_trace_has_at_most_three_types() -> None:
    # On the wire and to credit; in the policy's own tokens; as a line of a file.
    assert len(shape.scored_trace_types()) <= 3
    assert "mrt_reward/types.py ScoredTrace" in shape.scored_trace_types()
    exempt = {node.name for module in shape.modules() for node in shape.classes(module)}
    assert set(shape.NO_SCORED_TRACES) <= exempt


def test_every_larger_module_of_these_packages_has_its_own_tests() -> None:
    assert shape.untested_modules(*MIRRORED) == []


def test_no_package_imports_one_that_imports_it() -> None:
    assert shape.package_cycles() == []


def test_the_measures_find_what_they_are_for() -> None:
    [here] = [module for module in shape.modules("tests/house") if module.name.endswith("shape.py")][:1]
    assert here.num_lines > 100
    assert shape.num_parameters(next(each for each in here.functions if each.name == "untested_modules")) == 2
    assert not shape.long_files(10_000)
    assert shape.long_files(250)
