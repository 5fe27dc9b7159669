"""The form of CHANGELOG.md: a user finds what changed under one of four headings, and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
HEADINGS = ["Added", "Changed", "Removed", "Fixed"]
AREA = re.compile(r"- \*\*[A-Z][A-Za-z ]+\*\*: \S")
LONGEST_ENTRY = 900
"""In characters. Longer ones are several changes."""


def entries_of(version: str) -> dict[str, list[str]]:
    """Lines below each heading of a version; a heading that stands twice is refused."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^### ", version, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        assert heading not in found, f"the heading {heading} stands twice: merge the lines below it"
        found[heading] = [line for line in body.splitlines() if line.strip()]
    return found


def test_a_version_has_each_of_four_headings_at_most_once_and_in_this_order() -> None:
    assert VERSIONS
    for version in VERSIONS:
        headings = list(entries_of(version))
        assert headings == [heading for heading in HEADINGS if heading in headings]


def test_a_line_names_its_area_first_and_is_one_change() -> None:
    lines = [line for version in VERSIONS for lines in entries_of(version).values() for line in lines]
    assert [line[:80] for line in lines if not AREA.match(line)] == []
    assert [line[:80] for line in lines if len(line) > LONGEST_ENTRY] == []
    assert len(lines) == len(set(lines)), "a line stands twice"


def test_what_is_changed_or_removed_says_how_to_migrate() -> None:
    for version in VERSIONS:
        entries = entries_of(version)
        lines = entries.get("Changed", []) + entries.get("Removed", [])
        assert [line[:80] for line in lines if "Migrate" not in line] == []
