"""Requests of every kind that the OpenAPI document allows and forbids: no operation answers 5xx or breaks its word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.faults.table import Figure, Row
from tests.server.conftest import threaded_server
from tests.server.contract import OPERATIONS, statuses_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as served:
        yield served


def test_no_operation_answers_5xx(row: Row, by_scale: Callable[[int, int], int], url: str) -> None:
    num_examples, statuses = by_scale(50, 500), Counter[int]()
    for method, path in OPERATIONS:
        statuses += statuses_of(url, method, path, num_examples=num_examples)
    num_broken = sum(count for status, count in statuses.items() if status >= 500)
    asked = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    done = f"schemathesis, {num_examples} sound and {num_examples} broken requests of {len(OPERATIONS)} operations"
    figure = f"{num_broken} x 5xx ({asked})"
    row.found(
        Figure("the contract holds", done, figure, "0", num_broken == 0 and sum(statuses.values()) > 4 * num_examples)
    )
