"""Which of several servers is asked."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mrt_reward.client import servers as module
from mrt_reward.client.servers import LONGEST_AWAY_S, Servers
from mrt_reward.errors import ConfigError

URLS = ["http://a:1", "http://b:1/", "http://c:1", "http://d:1"]
KEYS = [f"problem {number}" for number in range(400)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    return now


def test_keys_are_spread_over_all_servers_and_a_key_stays_where_it_is() -> None:
    servers = Servers(URLS)
    homes = {key: servers.route(key)[0] for key in KEYS}
    assert {key: Servers(URLS).route(key)[0] for key in KEYS} == homes, "another process agrees"
    # 100 each in the mean, with a deviation of sqrt(400 * 1/4 * 3/4) = 8.7.
    assert all(60 < number < 140 for number in Counter(homes.values()).values())
    assert all(sorted(servers.route(key)) == [0, 1, 2, 3] for key in KEYS)


def test_keys_of_a_server_that_is_away_are_spread_over_the_others_and_come_back(clock: list[float]) -> None:
    servers = Servers(URLS)
    before = {key: servers.chosen(servers.route(key)) for key in KEYS}
    servers.leave_out(2, 0.0)
    during = {key: servers.chosen(servers.route(key)) for key in KEYS}
    moved = {key for key in KEYS if before[key] != during[key]}
    assert moved == {key for key in KEYS if before[key] == 2}
    assert set(Counter(during[key] for key in moved)) == {0, 1, 3}
    clock[0] += 1.0
    assert {key: servers.chosen(servers.route(key)) for key in KEYS} == before


def test_one_that_fails_again_is_left_out_for_longer_up_to_a_bound_or_for_as_long_as_it_says(
    clock: list[float],
) -> None:
    servers = Servers(URLS)
    waits: list[float] = []
    for _ in range(7):
        servers.leave_out(1, 0.0)
        servers.leave_out(1, 0.0)  # What was under way to it tells nothing new.
        start = clock[0]
        while not servers.is_up(1):
            clock[0] += 0.5
        waits.append(clock[0] - start)
    assert waits == [1, 2, 4, 8, 16, LONGEST_AWAY_S, LONGEST_AWAY_S]
    servers.answered(1)
    servers.leave_out(1, 7.0)
    clock[0] += 6.5
    assert not servers.is_up(1)


def test_while_all_are_away_the_one_that_is_tried_again_first_is_asked(clock: list[float]) -> None:
    servers = Servers(["http://a:1", "http://b:1"])
    servers.leave_out(0, 9.0)
    servers.leave_out(1, 5.0)
    assert servers.chosen((0, 1)) == 1


async def test_the_time_is_the_event_loops() -> None:
    servers = Servers(["http://a:1"])
    assert servers.is_up(0)
    servers.leave_out(0, 1000.0)
    assert not servers.is_up(0)
    assert asyncio.get_running_loop().time() > 0


def test_urls_are_named_once_and_there_is_one_at_least() -> None:
    assert Servers(["http://a:1/", "http://a:1"]).urls == ("http://a:1",)
    assert Servers(["http://a:1"]).route("anything") == (0,)
    assert str(Servers(URLS[:2])) == "http://a:1, http://b:1"
    with pytest.raises(ValueError, match="expected the URL of a server"):
        Servers([])


def test_traces_are_parted_by_route_in_their_order() -> None:
    servers = Servers(URLS[:2])
    parted = servers.by_route(["x", "y", "x", "z"])
    assert sorted(index for indices in parted.values() for index in indices) == [0, 1, 2, 3]
    assert all(indices == sorted(indices) for indices in parted.values())
    assert any({0, 2} <= set(indices) for indices in parted.values())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000", r"begins with http:// or https://, got '127.0.0.1:8000': http://127.0.0.1:8000\?$"),
        ("ftp://a", "begins with http:// or https://, got 'ftp://a'$"),
        ("http://a:1/v1/", "leave /v1 out"),
        ("", "begins with http"),
    ],
)
def test_what_is_no_address_of_a_server_is_refused_before_anything_is_sent(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Servers(["http://a:1", url])
