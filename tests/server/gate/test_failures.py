"""Whatever a request fails of becomes one reply; our own bugs are logged."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from mrt_reward.errors import Overloaded
from mrt_reward.server.gate.failures import Failures
from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.waiting import CallerGone
from tests.server.gate.sending import Receiving, Sending, scope_of

Logs = list[MutableMapping[str, Any]]


class Failing:
    """Raises, perhaps after the beginning of a reply."""

    def __init__(self, error: Exception, *, begun: bool = False) -> None:
        self._error, self._begun = error, begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise self._error


async def _reply(error: Exception) -> Sending:
    sending = Sending()
    await Failures(Failing(error))(scope_of(), Receiving(b""), sending)
    return sending


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestRefused(413, "too large"), 413, "invalid_body"),
        (Overloaded("full", retry_after_s=3.0), 429, "overloaded"),
    ],
)
async def test_refusals_and_our_own_errors_are_answered_and_not_logged(
    error: Exception, status: int, code: str, logs: Logs
) -> None:
    sending = await _reply(error)
    assert (sending.status, sending.error["code"], logs) == (status, code, [])


async def test_a_bug_is_logged_and_answered_without_its_words(logs: Logs) -> None:
    sending = await _reply(ZeroDivisionError("a caller's secret"))
    assert (sending.status, [log["event"] for log in logs]) == (500, ["request_failed"])
    assert sending.error["message"] == "internal error (ZeroDivisionError)"


async def test_a_caller_who_is_gone_gets_nothing(logs: Logs) -> None:
    sending = await _reply(CallerGone())
    assert (sending.messages, logs) == ([], [])


async def test_a_bug_in_mid_reply_is_logged_and_breaks_the_connection(logs: Logs) -> None:
    sending = Sending()
    with pytest.raises(ZeroDivisionError):
        await Failures(Failing(ZeroDivisionError(), begun=True))(scope_of(), Receiving(b""), sending)
    assert [message["type"] for message in sending.messages] == ["http.response.start"]
    assert [log["event"] for log in logs] == ["request_failed"]
