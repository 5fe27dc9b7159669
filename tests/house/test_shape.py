"""The shape of the code, held: bars first, then numbers that may only fall."""

from __future__ import annotations

from mrt_reward.protocols import Prover
from tests.house import shape

MIRRORED = ("server", "service", "text", "client", "provers")


def test_files_and_functions_are_short_and_take_few_parameters() -> None:
    assert shape.long_files(300) == []
    assert shape.p90(shape.function_lengths()) <= 20
    assert len(shape.wide_functions(5)) <= 8


def test_a_prover_has_six_members() -> None:
    members = sorted(name for name in vars(Prover) if not name.startswith("_"))
    assert members == ["check", "close", "info", "num_slots", "prove", "tokenizer"]


def test_every_larger_module_of_provers_and_server_has_its_own_tests() -> None:
    assert shape.untested_modules("provers", "server") == []


def test_no_package_imports_one_that_imports_it() -> None:
    assert shape.package_cycles() == []


def test_what_is_not_yet_as_it_should_be_gets_no_worse() -> None:
    assert len(shape.untested_modules(*MIRRORED)) <= 7
    assert len(shape.broad_excepts()) <= 21
    assert len(shape.typed_dict_parameters()) <= 3


def test_the_measures_find_what_they_are_for() -> None:
    [here] = [module for module in shape.modules("tests/house") if module.name.endswith("shape.py")][:1]
    assert here.num_lines > 100
    assert shape.num_parameters(next(each for each in here.functions if each.name == "untested_modules")) == 2
    assert not shape.long_files(10_000)
    assert shape.long_files(250)
