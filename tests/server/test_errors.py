"""What a route raises is answered in the one shape, with the field that is wrong."""

from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Header
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from mrt_reward.errors import Overloaded
from mrt_reward.server.errors import DOCUMENTED, install_error_handlers
from mrt_reward.server.gate.replies import STATUS, InvalidBody


class Inner(BaseModel):
    """A record in a list."""

    number: int


class Body(BaseModel):
    """A body."""

    items: list[Inner] = []
    name: str = ""


def _app() -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)

    async def ours() -> None:
        raise Overloaded("full", retry_after_s=3.0)

    async def http() -> None:
        raise HTTPException(409, "taken", {"X-More": "1"})

    async def validated(body: Body) -> Body:
        return body

    async def by_hand(body: dict[str, object]) -> Body:
        try:
            return TypeAdapter(Body).validate_python(body)
        except ValidationError as error:
            raise InvalidBody(error.errors(include_url=False, include_context=False, include_input=False)) from error

    async def header(number: Annotated[int, Header()]) -> int:
        return number

    for path, route in (("/ours", ours), ("/http", http), ("/header", header)):
        app.get(path, response_model=None)(route)
    for path, route in (("/validated", validated), ("/by_hand", by_hand)):
        app.post(path, response_model=None)(route)
    return app


async def _asked(method: str, path: str, **more: object) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_app()), base_url="http://here") as http:
        return await http.request(method, path, **more)  # type: ignore[arg-type]


async def test_our_errors_keep_their_status_and_wait() -> None:
    reply = await _asked("GET", "/ours")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "3")
    assert reply.json()["error"]["type"] == "Overloaded"


@pytest.mark.parametrize("path", ["/validated", "/by_hand"])
async def test_a_broken_field_is_named_with_its_path_and_how_many_more_there_are(path: str) -> None:
    reply = await _asked("POST", path, json={"items": [{"number": 1}, {"number": "x"}], "name": 7})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "invalid_request", "items.1.number")
    assert error["message"].startswith("items.1.number: ")
    assert "; name: " in error["message"]
    many = await _asked("POST", path, json={"items": [{"number": "x"}] * 5, "name": "a"})
    assert many.json()["error"]["message"].endswith(" (and 2 more)")


async def test_a_broken_header_is_a_400() -> None:
    reply = await _asked("GET", "/header", headers={"number": "x"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "number")


async def test_errors_of_http_keep_their_headers_and_are_named_by_their_status() -> None:
    reply = await _asked("GET", "/http")
    assert (reply.status_code, reply.headers["x-more"]) == (409, "1")
    assert reply.json()["error"] == {"message": "taken", "type": "HTTPError", "code": "conflict", "param": None}
    missing = (await _asked("GET", "/nowhere")).json()["error"]
    assert (missing["code"], missing["message"][:33]) == ("not_found", "there is no route /nowhere: /docs")


def test_every_status_that_an_error_has_is_documented() -> None:
    assert {int(status) for _, status in STATUS} <= set(DOCUMENTED)
    assert all("headers" in DOCUMENTED[status] for status in (429, 503, 504))
