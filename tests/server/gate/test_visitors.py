"""A server without a key answers this machine's programs, and no web page."""

from __future__ import annotations

import json

import httpx
import pytest

from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.app import create_admin_app, create_app
from mrt_reward.server.gate.visitors import Visitors, is_loopback
from tests.server.conftest import TRACE, VALUES
from tests.server.test_run import JSON, make_scorer, make_settings


def _port(app: str = "public", **fields: object) -> httpx.AsyncClient:
    create = create_app if app == "public" else create_admin_app
    transport = httpx.ASGITransport(create(make_scorer(ScriptedProver(VALUES)), make_settings(**fields)))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=JSON)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:1", "localhost.", "[::1]:8000"]
)
async def test_loopback_is_let_in(host: str) -> None:
    async with _port() as http:
        assert (await http.get("/livez", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:8000", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "prover:8001", "10.1.2.3",
     "[2001:db8::1]:8000", "", "127.0.0.1@evil.example", "0x7f.1", "[::1].evil.example", "localhost:evil.example"],
)  # fmt: skip
async def test_another_host_is_a_name_that_was_made_to_lead_here(host: str) -> None:
    for app in ("public", "admin"):
        async with _port(app) as http:
            for method, path in (("POST", "/v1/score"), ("GET", "/v1/prover"), ("DELETE", "/admin/cache")):
                reply = await http.request(method, path, headers={"host": host}, json={"traces": [TRACE]})
                assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
                assert "--allowed-hosts" in reply.text


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "https://127.0.0.1:8000",
     "http://localhost:8000", "HTTP://127.0.0.1:8000", "http://127.0.0.1:8000/"],
)  # fmt: skip
async def test_an_origin_is_a_web_page(origin: str) -> None:
    for app, path in (("public", "/v1/score"), ("admin", "/admin/drain"), ("public", "/livez")):
        async with _port(app) as http:
            reply = await http.post(path, headers={"origin": origin}, json={})
            assert reply.status_code == 403
            assert "MRT_REWARD_API_KEY" in reply.text


async def test_the_servers_own_page_asks_from_its_own_origin() -> None:
    own = {"origin": "http://127.0.0.1:8000"}
    async with _port() as http:
        assert (await http.post("/v1/episodes", headers=own, json={"traces": [TRACE]})).status_code == 200
        # A name that was made to lead here is the same as its origin, and still no name of ours.
        led = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
        assert (await http.post("/v1/episodes", headers=led, json={"traces": [TRACE]})).status_code == 403
        two = [("origin", own["origin"]), ("origin", "http://evil.example")]
        assert (await http.get("/livez", headers=two)).status_code == 403


async def test_where_any_name_is_allowed_one_that_was_made_to_lead_here_has_no_page_of_ours() -> None:
    led = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    async with _port(allowed_hosts="*") as http:
        assert (await http.post("/v1/episodes", headers=led, json={"traces": [TRACE]})).status_code == 403
        own = {"origin": "http://127.0.0.1:8000"}
        assert (await http.post("/v1/episodes", headers=own, json={"traces": [TRACE]})).status_code == 200


async def test_names_that_are_allowed_and_a_key_let_services_in() -> None:
    host, key = {"host": "prover:8001"}, {"authorization": "Bearer k"}
    async with _port(allowed_hosts="prover,other") as http:
        assert (await http.get("/livez", headers=host)).status_code == 200
        assert (await http.get("/livez", headers={"host": "third"})).status_code == 403
        assert (await http.get("/livez", headers={**host, "origin": "http://other:8001"})).status_code == 403
    async with _port(allowed_hosts="*") as http:
        assert (await http.get("/livez", headers=host)).status_code == 200
    async with _port(api_key="k") as http:
        assert (await http.get("/v1/prover", headers={**host, **key})).status_code == 200
        assert (await http.get("/v1/prover", headers={**host, **key, "origin": "http://ui.example"})).status_code == 200


async def test_an_address_cannot_be_made_to_lead_elsewhere_so_an_open_server_takes_it() -> None:
    async with _port(host="0.0.0.0", no_key=True) as http:
        for host, status in (("10.1.2.3:8000", 200), ("[2001:db8::1]", 200), ("evil.example", 403)):
            assert (await http.get("/livez", headers={"host": host})).status_code == status
    async with _port(host="10.9.9.9", no_key=True) as http:
        assert (await http.get("/livez", headers={"host": "10.9.9.9:8000"})).status_code == 200
        assert (await http.get("/livez", headers={"host": "10.1.2.3:8000"})).status_code == 403


async def test_a_client_that_names_no_host_is_no_browser() -> None:
    passed: list[str] = []

    async def app(*_: object) -> None:
        passed.append("in")

    await Visitors(app, "127.0.0.1", ())({"type": "http", "headers": []}, app, app)  # type: ignore[arg-type]
    assert passed == ["in"]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/advantages", "/v1/episodes", "/get_reward"])
async def test_every_post_says_that_it_is_json(path: str) -> None:
    async with _port() as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            reply = await http.post(path, content=json.dumps({}), headers={"content-type": kind})
            assert reply.status_code == 415


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "drain"), ("DELETE", "drain"), ("DELETE", "cache"), ("POST", "weights")]
)
async def test_what_has_no_body_says_so_too(method: str, path: str) -> None:
    async with _port("admin") as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            reply = await http.request(method, f"/admin/{path}", headers={"content-type": kind})
            assert reply.status_code == 415


def test_loopback_is_an_address_or_its_one_name() -> None:
    here = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost"]
    away = ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "prover", "", "127.0.0.1.nip.io"]
    assert [is_loopback(host) for host in here + away] == [True] * len(here) + [False] * len(away)
