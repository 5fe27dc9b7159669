"""The OpenAPI document is true: schemathesis finds no 5xx and no violation on the live server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.core.transport import Response

from tests.server.conftest import live_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a thread of its own, since schemathesis is synchronous."""
    loop = asyncio.new_event_loop()
    started: threading.Event = threading.Event()
    found: list[str] = []
    stop = asyncio.Event()

    async def run() -> None:
        async with live_server() as live:
            found.append(live.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert started.wait(20)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def api(url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_word(case: schemathesis.Case) -> None:
    response: Response = case.call_and_validate()
    assert response.status_code < 500 or response.status_code == 503
