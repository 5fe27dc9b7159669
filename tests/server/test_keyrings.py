"""What each key opens."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.app import create_admin_app, create_app
from mrt_reward.server.keyrings import admin_keyring, public_keyring
from mrt_reward.server.listening import refuse_open_addresses
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import TRACE, VALUES
from tests.server.test_run import JSON, make_settings
from tests.service.conftest import WordGrader, speller


def stored(key: str, *scopes: str, **fields: object) -> dict[str, object]:
    return {"sha256": hashlib.sha256(key.encode()).hexdigest(), **({"scopes": scopes} if scopes else {}), **fields}


KEYS = {"trainer": stored("t"), "operator": stored("o", "admin"), "both": stored("b", "score", "admin")}
ROUTES = (("GET", "/v1/prover", "public"), ("DELETE", "/admin/cache", "admin"))


def scorer_of(settings: ServeSettings) -> Scorer:
    limits = QueueLimits(settings.max_queue_tokens, settings.tokens_per_minute)
    return Scorer(ScriptedProver(VALUES), {"word": WordGrader()}, speller, limits=limits)


def port_of(app: str, settings: ServeSettings, key: str | None, address: str = "127.0.0.1") -> httpx.AsyncClient:
    create = create_app if app == "public" else create_admin_app
    transport = httpx.ASGITransport(create(scorer_of(settings), settings), client=(address, 1))
    headers = {**JSON, **({} if key is None else {"Authorization": f"Bearer {key}"})}
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


async def statuses(settings: ServeSettings, key: str | None) -> tuple[int, ...]:
    """Of the public port and of the admin port."""
    found: list[int] = []
    for method, path, app in ROUTES:
        async with port_of(app, settings, key) as http:
            found.append((await http.request(method, path)).status_code)
    return tuple(found)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Keys: t score, o admin, b both; k is the API key, a the admin key; x is nobody's.
        ({"keys": KEYS}, {"t": (200, 403), "o": (403, 200), "b": (200, 200), "x": (401, 401), None: (401, 401)}),
        ({"keys": KEYS, "api_key": "k"}, {"k": (200, 403), "t": (200, 403), "o": (403, 200), "x": (401, 401)}),
        ({"keys": {"trainer": stored("t")}}, {"t": (200, 403), "o": (401, 401), None: (401, 401)}),
        ({"keys": {"trainer": stored("t")}, "api_key": "k"}, {"t": (200, 403), "k": (200, 200)}),
        ({"api_key": "k"}, {"k": (200, 200), "a": (401, 401), None: (401, 401)}),
        ({"api_key": "k", "admin_key": "a"}, {"k": (200, 403), "a": (403, 200), None: (401, 401)}),
        ({"api_key": "k", "admin_key": "k"}, {"k": (200, 200), None: (401, 401)}),
        ({"admin_key": "a"}, {"a": (200, 200), None: (200, 401)}),
        ({}, {None: (200, 200), "x": (200, 200)}),
    ],
)
async def test_each_key_opens_what_its_scopes_say(fields: dict[str, Any], expected: dict[str | None, Any]) -> None:
    settings = make_settings(**fields)
    assert {key: await statuses(settings, key) for key in expected} == expected


@pytest.mark.parametrize(
    "header",
    [
        "bearer t",
        "BEARER t",
        "Bearer  t",
        "Bearer t ",
        "Bearert",
        "Basic t",
        "t",
        "Bearer",
        "Bearer ",
        "Bearer t,t",
        "",
    ],
)
async def test_a_key_is_sent_in_one_way(header: str) -> None:
    async with port_of("public", make_settings(keys=KEYS), None) as http:
        reply = await http.get("/v1/prover", headers={"authorization": header})
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


async def test_who_lacks_a_scope_learns_which_and_probes_need_no_key() -> None:
    async with port_of("admin", make_settings(keys=KEYS), "t") as http:
        error = (await http.delete("/admin/cache")).json()["error"]
        assert (error["code"], "scope score" in error["message"], "admin" in error["message"]) == (
            "forbidden",
            True,
            True,
        )
    async with port_of("public", make_settings(keys=KEYS), None) as http:
        assert [(await http.get(path)).status_code for path in ("/livez", "/metrics", "/version")] == [200, 200, 200]


async def test_a_key_whose_budget_is_spent_waits_and_no_other_does() -> None:
    settings = make_settings(keys={"small": stored("s", tokens_per_minute=1), "large": stored("l")})
    app = create_app(scorer_of(settings), settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=JSON) as http:

        async def score(key: str, trace_id: str) -> httpx.Response:
            trace = {**TRACE, "id": trace_id, "problem": trace_id}
            return await http.post("/v1/score", json={"traces": [trace]}, headers={"Authorization": f"Bearer {key}"})

        assert (await score("s", "a")).status_code == 200, "a request may cost more than is left"
        refused = await score("s", "b")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_spent")
        assert int(refused.headers["retry-after"]) > 60, "more than the tokens of one minute are owed"
        assert [(await score("l", str(index))).status_code for index in range(3)] == [200] * 3
        metrics = (await http.get("/metrics")).text
    tokens = {
        name: float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        for name in ("small", "large")
        if line.startswith(f'mrt_reward_tenant_tokens_total{{tenant="{name}"}}')
    }
    assert tokens["large"] == 3 * tokens["small"] > 0


def test_nobody_knows_whose_a_request_is_when_two_hold_one_key() -> None:
    for fields in (
        {"keys": {"a": stored("k"), "b": stored("k")}},
        {"keys": {"a": stored("k")}, "api_key": "k"},
        {"keys": {"a": stored("k")}, "admin_key": "k"},
    ):
        with pytest.raises(ConfigError, match="a key of their own") as refused:
            refuse_open_addresses(make_settings(**fields))
        assert refused.value.param == "keys"


def test_a_key_of_any_scope_closes_both_ports_to_those_without() -> None:
    assert (public_keyring(make_settings()), admin_keyring(make_settings())) == (None, None)
    for key in KEYS.values():
        settings = make_settings(keys={"one": key}, host="0.0.0.0", admin_host="0.0.0.0")
        refuse_open_addresses(settings)
        assert None not in (public_keyring(settings), admin_keyring(settings))
