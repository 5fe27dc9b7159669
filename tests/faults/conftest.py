"""The suite runs by `make test-faults`, which sets `MRT_REWARD_FAULTS`; `make test` leaves it out, for its length."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.faults.table import Row, found_by, show

SCALE = os.environ.get("MRT_REWARD_FAULTS", "")
"""`ci`, or `full` for what takes hours; nothing runs where it is unset."""

collect_ignore_glob = [] if SCALE else ["*"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # First, so that none of them is left to run alone at the end.
    items.sort(key=lambda item: not item.get_closest_marker("a_minute"))
    for item in items:
        if item.get_closest_marker("by_hand") and SCALE != "full":
            item.add_marker(pytest.mark.skip(reason="takes long: make test-faults FULL=1"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    show(terminalreporter, "faults and load", sorted(found_by(terminalreporter), key=lambda each: each.row))


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    return Row(record_property)


@pytest.fixture
def by_scale() -> Callable[[int, int], int]:
    """The first number in CI, the second by hand."""
    return lambda in_ci, by_hand: by_hand if SCALE == "full" else in_ci
