"""Whose turn a request takes where grading is short."""

from __future__ import annotations

import asyncio

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.protocols import Party, asking_party, asking_together
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.app import create_app
from mrt_reward.server.gate.callers import Callers
from mrt_reward.server.gate.scope import HOLDER
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import TRACE, VALUES
from tests.server.test_run import JSON, make_settings
from tests.service.conftest import speller
from tests.service.test_requests import PartyGrader


class Asked:
    """Notes on whose behalf each request grades, in tasks of their own as a scorer does."""

    def __init__(self) -> None:
        self.parties: list[Party] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asking_together()
        self.parties += await asyncio.gather(grading(), grading())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def grading() -> Party:
    return asking_party()


async def ask(app: ASGIApp, *clients: tuple[str, int] | None) -> None:
    for client in clients:
        transport = httpx.ASGITransport(app, client=client)  # type: ignore[arg-type] - a socket has no address
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
            await http.get("/")


async def test_requests_from_one_address_are_one_callers_and_each_is_one_of_his() -> None:
    asked = Asked()
    await ask(Callers(asked), ("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1))
    assert [party.caller for party in asked.parties] == ["10.0.0.1"] * 4 + ["10.0.0.2"] * 2
    assert [len({party.request for party in asked.parties[start : start + 2]}) for start in (0, 2, 4)] == [1, 1, 1]
    assert len({party.request for party in asked.parties}) == 3


async def test_who_has_a_key_of_their_own_is_one_caller_wherever_they_ask_from() -> None:
    asked = Asked()

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        scope[HOLDER] = "lab"
        await Callers(asked)(scope, receive, send)

    await ask(with_key, ("10.0.0.1", 1), ("10.0.0.2", 1), None)
    assert {party.caller for party in asked.parties} == {"lab"}


async def test_where_no_address_is_known_each_request_is_a_caller() -> None:
    asked = Asked()
    await ask(Callers(asked), None, None)
    assert len({party.caller for party in asked.parties}) == 2


async def test_a_servers_scores_are_graded_for_whoever_asked() -> None:
    grader = PartyGrader()
    scorer = Scorer(ScriptedProver(VALUES), {"word": grader}, speller)
    app = create_app(scorer, make_settings())
    for client in (("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 3)):
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=JSON) as http:
            assert (await http.post("/v1/score", json={"traces": [TRACE]})).status_code == 200
    await scorer.close()
    assert [party.caller for party in grader.parties] == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert len({party.request for party in grader.parties}) == 3


async def test_what_is_no_request_passes() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    await Callers(app)({"type": "lifespan"}, receive, send)
    assert passed == ["lifespan"]
