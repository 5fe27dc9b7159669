"""Where the server listens, and for whom."""

from __future__ import annotations

import resource
import socket

import httpx
import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.listening import connection_limits, listening, refuse_open_addresses, refuse_taken_ports
from mrt_reward.server.run import serve
from tests.server.conftest import VALUES, live_server
from tests.server.test_run import make_scorer, make_settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "203.0.113.9", "fe80::1"])
@pytest.mark.parametrize("which", ["host", "admin_host"])
async def test_an_address_that_others_reach_needs_a_key_or_a_word(host: str, which: str) -> None:
    with pytest.raises(ConfigError, match="--no-key") as refused:
        await serve(make_scorer(ScriptedProver(VALUES)), make_settings(**{which: host}))
    assert refused.value.param == which
    refuse_open_addresses(make_settings(**{which: host, "no_key": True}))
    refuse_open_addresses(make_settings(**{which: host, "api_key": "k"}))


def test_each_port_needs_its_own() -> None:
    refuse_open_addresses(make_settings(admin_host="0.0.0.0", admin_key="k"))
    with pytest.raises(ConfigError, match="MRT_REWARD_API_KEY"):
        refuse_open_addresses(make_settings(host="0.0.0.0", admin_key="k"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback_needs_none(host: str) -> None:
    refuse_open_addresses(make_settings(host=host, admin_host=host))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_the_ipv6_wildcard_serves_both_families() -> None:
    async with live_server(host="::", api_key="k") as live, httpx.AsyncClient() as http:
        port = live.url.rsplit(":", 1)[1]
        for host in ("127.0.0.1", "[::1]"):
            assert (await http.get(f"http://{host}:{port}/livez")).status_code == 200


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 512))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    public, admin = connection_limits(make_settings(max_connections=4096))
    assert raised == [(512, 512)]
    assert 64 < public < 512 - 100
    assert 8 < admin <= 64
    assert connection_limits(make_settings(max_connections=20))[0] == 20
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connection_limits(make_settings())[0] == 4096


@pytest.mark.parametrize("what", ["port", "admin_port"])
def test_a_taken_port_is_known_before_anything_is_loaded(what: str) -> None:
    with listening("127.0.0.1", 0, what) as taken:
        settings = make_settings(**{"port": 0, "admin_port": 0, what: taken.getsockname()[1]})
        with pytest.raises(ConfigError, match=f"choose another {what}"):
            refuse_taken_ports(settings)
    refuse_taken_ports(settings)


def test_an_address_that_is_not_ours_is_reported() -> None:
    with pytest.raises(ConfigError, match="choose another port"):
        listening("203.0.113.9", 0, "port")
    with pytest.raises(ConfigError, match="choose another port"):
        listening("no-such-host.invalid", 0, "port")
