"""Requests of every kind that the OpenAPI document allows and forbids: no operation answers 5xx or breaks its word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.table import Figure, Row
from tests.server.conftest import TRACE, free_port, threaded_server
from tests.server.contract import ADMIN_OPERATIONS, OPERATIONS, statuses_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as served:
        yield served


def test_no_operation_answers_5xx(row: Row, by_scale: Callable[[int, int], int], url: str) -> None:
    num_examples, statuses = by_scale(25, 500), Counter[int]()
    for method, path in OPERATIONS:
        statuses += statuses_of(url, method, path, num_examples=num_examples)
    num_broken = sum(count for status, count in statuses.items() if status >= 500)
    asked = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    done = f"schemathesis, {num_examples} sound and {num_examples} broken requests of {len(OPERATIONS)} operations"
    figure = f"{num_broken} x 5xx ({asked})"
    row.found(
        Figure("the contract holds", done, figure, "0", num_broken == 0 and sum(statuses.values()) > 4 * num_examples)
    )


def test_no_operation_of_the_admin_port_answers_5xx_and_a_drain_ends(
    row: Row, by_scale: Callable[[int, int], int]
) -> None:
    """On a server of its own. A drain leaves the admin port at work, so that no 5xx is excused there; the public port
    is asked apart, drained and not."""
    num_examples, statuses, port = by_scale(25, 500), Counter[int](), free_port()
    admin, work = f"http://127.0.0.1:{port}", {"traces": [TRACE]}
    with threaded_server(admin_port=port) as url:
        for method, path in ADMIN_OPERATIONS:
            statuses += statuses_of(admin, method, path, num_examples=num_examples)
        httpx.post(f"{admin}/admin/drain", json={"draining": True})
        drained = httpx.post(f"{url}/v1/score", json=work)
        httpx.post(f"{admin}/admin/drain", json={"draining": False})
        resumed = httpx.post(f"{url}/v1/score", json=work)
    num_broken = sum(count for status, count in statuses.items() if status >= 500)
    asked = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    done = (
        f"schemathesis, {num_examples} sound and {num_examples} broken requests of {len(ADMIN_OPERATIONS)} operations"
    )
    figure = f"{num_broken} x 5xx ({asked})"
    holds = num_broken == 0 and sum(statuses.values()) > num_examples
    row.found(Figure("the contract of the admin port holds", done, figure, "0", holds))
    found = f"{drained.status_code} with Retry-After {drained.headers.get('retry-after')}, then {resumed.status_code}"
    holds = (drained.status_code, "retry-after" in drained.headers, resumed.status_code) == (503, True, 200)
    row.found(
        Figure(
            "the contract of the admin port: a drain ends",
            "drained, then resumed, after all of these",
            found,
            "503, then 200",
            holds,
        )
    )
