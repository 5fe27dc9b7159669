from __future__ import annotations

import pytest

from tests.house.shape import ROOT, Module, modules
from tests.house.words import classes_of_several_meanings, fragments_in, old_phrases_in, old_words_in
from tests.pins.outputs import FILES


def test_old_words_are_in_no_name() -> None:
    found = {module.name: sorted(old_words_in(module)) for module in modules("mrt_reward", "adapters", "tests")}
    assert {name: names for name, names in found.items() if names} == {}


def test_what_users_read_has_no_old_phrases() -> None:
    pages = [path for folder in ("mrt_reward", "adapters", "deploy") for path in (ROOT / folder).rglob("*.md")]
    read = [FILES / "help.txt", FILES / "openapi.json", ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages]
    found = {path.relative_to(ROOT).as_posix(): old_phrases_in(path.read_text(encoding="utf-8")) for path in read}
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


def test_each_flag_says_what_it_is() -> None:
    lines = (FILES / "help.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.strip().startswith("--") and "  Of " in line] == []


def test_docstrings_are_no_fragments() -> None:
    assert [each for module in modules() for each in fragments_in(module)] == []


def test_a_class_name_means_one_thing() -> None:
    assert classes_of_several_meanings() == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("told = 1", {"told"}),
        ("def test_it_is_told(): ...", {"test_it_is_told"}),
        ("class ToldOnce: replace = placeholder = 1", {"ToldOnce"}),
        ("num_places = 1  # told", {"num_places"}),
    ],
)
def test_a_name_is_seen_by_its_parts(source: str, names: set[str]) -> None:
    module = Module(ROOT / "tests" / "house" / "no_file.py")
    module.__dict__["text"] = source
    assert old_words_in(module) == names


def test_phrases_are_found_over_line_ends() -> None:
    assert old_phrases_in("What is missing\n  is told at the start; it was told to stop") == ["is told"]
