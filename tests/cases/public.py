"""Cases that users of graders, trainers and servers reported in public, in the words of whoever collected them.

They are read from `public_cases.jsonl` in the folder that MRT_REWARD_TEST_DATA names; without it they are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FILE = Path(os.environ.get("MRT_REWARD_TEST_DATA", "")) / "public_cases.jsonl"

LEFT: dict[str, str] = {}
"""Cases that fail today, by id, and why that is right or out of scope. A case that passes may not stand here."""

MAX_LEFT = 5


@dataclass(frozen=True)
class Case:
    """One reported case.

    Attributes:
        asked: what goes in; its fields depend on the kind.
        expected: what is right, a verdict or a sentence.

    """

    id: str
    kind: str
    asked: dict[str, Any]
    expected: Any


def read_cases() -> list[Case]:
    if not FILE.is_file():
        return []
    rows = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return [Case(row["id"], row["kind"], row["input"], row["expected"]) for row in rows]


CASES = read_cases()


def cases(kind: str) -> pytest.MarkDecorator:
    """One test for each case of a kind; where the file is missing, one that is skipped and says why."""
    found = [pytest.param(case, id=case.id) for case in CASES if case.kind == kind]
    missing = pytest.mark.skip(reason="needs MRT_REWARD_TEST_DATA with public_cases.jsonl")
    return pytest.mark.parametrize("case", found or [pytest.param(None, id=kind, marks=missing)])


def settle(case: Case, right: Callable[[], None]) -> None:
    """Check a case; one that is left must fail, so that the list of those stays true."""
    if case.id not in LEFT:
        right()
        return
    with pytest.raises(AssertionError):
        right()
