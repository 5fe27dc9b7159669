"""CONTRIBUTING.md shows the code as it is."""

from __future__ import annotations

import re

import pytest

from tests.house.contributing import PAGE, cell, lost_names, lost_paths, rows, section
from tests.house.shape import ROOT

PAGE_TEXT = PAGE.read_text(encoding="utf-8")
MAP = section(PAGE_TEXT, "The map")


def mapped() -> list[tuple[str, str]]:
    """Layer, or nothing, and path of everything on the map."""
    found = [(row[0] if row[0].isdigit() else "", cell(row[1] if row[0].isdigit() else row[0])) for row in rows(MAP)]
    return [(layer, path.rstrip("/")) for layer, each in found for path in each.paths]


def folders(parent: str) -> set[str]:
    return {path.parent.name for path in (ROOT / parent).glob("*/__init__.py")}


def test_every_path_and_name_on_the_page_exists() -> None:
    assert lost_paths(PAGE_TEXT) == []
    assert lost_names(PAGE_TEXT) == []


def test_the_map_has_all_of_the_package_in_the_layers_that_imports_are_held_to() -> None:
    reported: dict[str, set[str]] = {}
    for layer, path in mapped():
        if layer and not path.startswith("adapters/"):
            reported.setdefault(layer, set()).add(path.removesuffix(".py"))
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = settings.partition("layers = [")[2].partition("\n]")[0].strip().splitlines()
    held = [set(re.findall(r"mrt_reward\.(\w+)", line)) for line in reversed(listed)]
    assert list(reported.values()) == held
    assert list(map(int, reported)) == list(range(1, len(held) + 1))
    modules = {path.stem for path in (ROOT / "mrt_reward").glob("*.py")} - {"__init__"}
    assert set().union(*held) == modules | folders("mrt_reward")


def test_the_map_has_all_adapters_and_the_tests_that_mirror_nothing() -> None:
    paths = {path for _, path in mapped()}
    adapters = {path.name for path in (ROOT / "adapters").iterdir() if path.is_dir() and path.name[0] not in "._"}
    adapters -= {"__pycache__"}
    assert {f"adapters/{name}" for name in adapters} == {path for path in paths if path.startswith("adapters/")}
    others = folders("tests") - folders("mrt_reward") - adapters
    assert {f"tests/{name}" for name in others} == {path for path in paths if re.fullmatch(r"tests/\w+", path)}


def test_a_request_is_followed_and_both_recipes_name_files_and_what_is_in_them() -> None:
    for title in ("A request, from the socket to the reply", "Add an estimator", "Add an engine"):
        found = [cell(row[1]) for row in rows(section(PAGE_TEXT, title))]
        assert len(found) >= 6
        assert all(each.paths for each in found)
        assert sum(bool(each.names) for each in found) >= len(found) / 2


def test_the_page_stays_short() -> None:
    assert PAGE_TEXT.count("\n") < 160


@pytest.mark.parametrize(
    ("row", "lost"),
    [
        ("| a | `core/values.py`, `rollout_value` |", []),
        ("| a | `core/values.py`, `plan_values` |", ["core/values.py: plan_values"]),
        ("| a | `server/app.py`, `Routes.score`; `server/calls.py`, `Caller` |", []),
        ("| a | `server/app.py`, `Routes.scores` |", ["server/app.py: Routes.scores"]),
        ("| a | `provers/NAME/prover.py`, `VLLMProver` |", []),
        ("| `anything` | `core/`, `TAIL` |", []),
    ],
)
def test_a_name_that_is_not_where_the_page_says_is_found(row: str, lost: list[str]) -> None:
    assert lost_names(f"| step | where |\n|---|---|\n{row}\n") == lost


def test_a_path_that_leads_nowhere_is_found_and_other_code_is_no_path() -> None:
    page = "`core/gone.py`, `gone/`, `gone.py`, `core/values.py`, `tests/house/`, `a → b/c`, `/get_reward`\n"
    page += "```\nmake `no/file`\n```\n"
    assert lost_paths(page) == ["core/gone.py", "gone/", "gone.py"]
