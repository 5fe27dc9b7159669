"""The shape of the code, held: bars first, then numbers that may only fall."""

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


def test_a_prover_has_six_members() -> None:
    members = sorted(name for name in vars(Prover) if not name.startswith("_"))
    assert members == ["check", "close", "info", "num_slots", "prove", "tokenizer"]


def test_every_larger_module_of_the_provers_has_its_own_tests() -> None:
    assert shape.untested_modules("provers") == []


def test_what_is_not_yet_as_it_should_be_gets_no_worse() -> None:
    assert len(shape.untested_modules(*MIRRORED)) <= 11
    assert len(shape.broad_excepts()) <= 22
    assert len(shape.wide_functions(5)) <= 4
    assert shape.package_cycles() in ([], [("mrt_reward.server", "mrt_reward.server.gate")])


def test_the_measures_find_what_they_are_for() -> None:
    [here] = [module for module in shape.modules("tests/house") if module.name.endswith("shape.py")][:1]
    assert here.num_lines > 100
    assert shape.num_parameters(next(each for each in here.functions if each.name == "untested_modules")) == 2
    assert not shape.long_files(10_000)
    assert shape.long_files(250)
