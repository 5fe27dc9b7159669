"""Work whose length a body chooses is done in threads, beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mrt_reward.server import advantages, openrlhf
from tests.server.conftest import Live, post


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], list[str]]:
    """Notes in which threads a function of a module runs, which it still does."""

    def watch(module: object, name: str) -> list[str]:
        threads: list[str] = []
        real = getattr(module, name)

        def noting(*args: Any, **options: Any) -> object:
            threads.append("loop" if threading.current_thread() is threading.main_thread() else "another")
            return real(*args, **options)

        monkeypatch.setattr(module, name, noting)
        return threads

    return watch


async def test_queries_are_taken_apart_beside_the_event_loop(
    live: Live, seen: Callable[[object, str], list[str]]
) -> None:
    threads = seen(openrlhf, "to_traces")
    body = {"query": ["Q: <think>a</think>42"], "prompts": ["Q: "], "labels": ["42"]}
    assert len((await post(live, "/get_reward", body)).json()["scores"]) == 1
    assert threads == ["another"]


async def test_advantages_are_calculated_beside_the_event_loop(
    live: Live, seen: Callable[[object, str], list[str]]
) -> None:
    threads = seen(advantages, "credit")
    body = {"groups": [{"traces": [{"id": "a", "outcome": 1, "values": [0.1, 0.4]}]}] * 2}
    assert len((await post(live, "/v1/advantages", body)).json()["groups"]) == 2
    assert threads == ["another", "another"]
