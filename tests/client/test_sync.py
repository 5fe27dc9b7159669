"""What threads add: a client that is closed, or forked, while somebody waits."""

from __future__ import annotations

import asyncio
import threading

import httpx
import numpy as np
import pytest

from mrt_reward.client import Client
from mrt_reward.errors import MRTRewardError, RequestRejected
from tests.server.conftest import TRACE


def hanging() -> tuple[httpx.MockTransport, threading.Event]:
    asked = threading.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    return httpx.MockTransport(answer), asked


@pytest.mark.parametrize("num_traces", [0, 1, 2])
def test_closing_answers_threads_that_wait(num_traces: int) -> None:
    transport, asked = hanging()
    client = Client("http://server", transport=transport)
    reported: list[BaseException] = []

    def wait() -> None:
        try:
            if num_traces:
                client.score([{**TRACE, "id": str(index)} for index in range(num_traces)])
            else:
                client.prover()
        except MRTRewardError as error:
            reported.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(20)
    client.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "closed" in str(reported[0])


def test_a_client_without_its_thread_refuses_at_once() -> None:
    client = Client("http://server", transport=hanging()[0])
    client.close()
    client.close()
    for call in (client.prover, lambda: client.score([TRACE]), lambda: list(client.stream([TRACE]))):
        with pytest.raises(RequestRejected, match="closed, or made before a fork"):
            call()


def test_metadata_that_is_no_json_is_refused_here_too() -> None:
    with Client("http://server", transport=hanging()[0]) as client, pytest.raises(RequestRejected, match="reward"):
        client.score([{**TRACE, "metadata": {"reward": np.float32(1.5)}}])
