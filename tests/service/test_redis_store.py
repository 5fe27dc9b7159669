"""A cache that replicas share, on a real server: it fails in every way a server can, and costs nobody a score."""

from __future__ import annotations

import signal
import socket
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import pytest
import redis
import structlog

from mrt_reward.errors import ConfigError, StoreUnavailable
from mrt_reward.service import redis_store
from mrt_reward.service.cache import ScoreCache
from mrt_reward.service.redis_store import NAMESPACE, RedisRecords, RedisStore
from mrt_reward.types import SampledAnswer, Value, Verdict
from tests.redis_server import needs_redis, redis_server
from tests.service.test_store import computed, keys, refuse, until, value
from tests.serving import free_port

pytestmark = needs_redis


@contextmanager
def made(port: int, password: str = "") -> Generator[RedisStore]:
    store = RedisStore(f"redis://:{password}@127.0.0.1:{port}/0", first_away_s=0.02)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    with redis_server(port):
        yield port


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as found:
        yield found  # type: ignore[misc]


async def test_what_one_replica_proved_another_finds(port: int) -> None:
    with made(port) as first, made(port) as second:
        await ScoreCache(store=first).resolve(keys("k", 5), computed)
        until(lambda: first.num_pending == 0)
        values, num_cached = await ScoreCache(store=second).resolve(keys("k", 5), refuse)
    assert (values, num_cached) == ([value(index / 100) for index in range(5)], 5)


def test_a_value_comes_back_as_it_was_with_its_answers(port: int) -> None:
    kept = Value(0.5, 0.1, 0.2, 0.8, answers=(SampledAnswer("\\boxed{½} \x00", Verdict.UNPARSED, 3, -0.5),))
    with made(port) as store:
        store.put({b"\x00\xff*?[": kept})
        until(lambda: store.num_pending == 0)
        assert store.get([b"\x00\xff*?[", b"other"]) == {b"\x00\xff*?[": kept}


async def test_a_server_that_dies_is_a_miss_and_is_used_again_once_it_is_back(logs: list[dict[str, object]]) -> None:
    port = free_port()
    with redis_server(port) as process, made(port) as store:
        cache = ScoreCache(store=store)
        await cache.resolve(keys("before", 5), computed)
        until(lambda: store.num_pending == 0)
        process.kill()
        process.wait()
        for request in range(5):
            values, num_cached = await cache.resolve(keys(f"r{request}-", 5), computed)
            assert (values, num_cached) == ([value(index / 100) for index in range(5)], 0)
        until(lambda: store.num_failures["read"] >= 1 and store.num_failures["write"] >= 2)
        assert store.num_pending == 25
        with redis_server(port):
            until(lambda: store.num_pending == 0)
            assert len(store.get([key for request in range(5) for key in keys(f"r{request}-", 5)])) == 25
    message = [entry for entry in logs if entry["event"] == "cache_store_failed"]
    assert {entry["where"] for entry in message} == {f"redis://127.0.0.1:{port}"}
    assert any(entry["event"] == "cache_store_works_again" for entry in logs)


async def test_a_server_that_is_away_at_the_start_is_a_miss_and_used_later() -> None:
    port = free_port()
    with made(port) as store:
        assert store.num_failures["read"] == 1
        assert await ScoreCache(store=store).resolve([b"a"], computed) == ([value(0.0)], 0)
        with redis_server(port):
            until(lambda: store.num_pending == 0)
            until(lambda: store.get([b"a"]) == {b"a": value(0.0)})


async def test_a_server_that_accepts_and_never_answers_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "ANSWER_S", 0.05)
    port = free_port()
    with redis_server(port) as process, made(port) as store:
        process.send_signal(signal.SIGSTOP)
        assert await ScoreCache(store=store).resolve([b"a"], computed) == ([value(0.0)], 0)
        assert store.num_failures["read"] == 1
        process.send_signal(signal.SIGCONT)
        until(lambda: store.num_pending == 0)


async def test_a_full_server_refuses_and_what_it_refused_is_stored_once_there_is_room(port: int) -> None:
    with closing(redis.Redis(port=port)) as operator, made(port) as store:
        operator.config_set("maxmemory", 1)
        assert await ScoreCache(store=store).resolve(keys("k", 3), computed) == (
            [value(index / 100) for index in range(3)],
            0,
        )
        until(lambda: store.num_failures["write"] >= 1)
        operator.config_set("maxmemory", 0)
        until(lambda: store.num_pending == 0)
        assert len(store.get(keys("k", 3))) == 3


async def test_a_wrong_password_is_a_miss_and_nobody_reads_it_in_the_log(logs: list[dict[str, object]]) -> None:
    port = free_port()
    with redis_server(port, "--requirepass", "right"):
        with made(port, "wrong-one") as store:
            assert await ScoreCache(store=store).resolve([b"a"], computed) == ([value(0.0)], 0)
            until(lambda: store.num_failures["write"] >= 1)
        with made(port, "right") as store:
            store.put({b"a": value(0.5)})
            until(lambda: store.num_pending == 0)
    assert "AuthenticationError" in str(logs)
    assert "wrong-one" not in str(logs)


@pytest.mark.parametrize(
    "record", [b"{", b"null", b"\x80\x04K\x01.", b'{"value": 7.0, "stderr": 0, "low": 0, "high": 1}']
)
async def test_a_record_that_is_no_value_is_proved_again(port: int, record: bytes) -> None:
    with closing(redis.Redis(port=port)) as other, made(port) as store:
        other.set(NAMESPACE + b"bad", record)
        assert await ScoreCache(store=store).resolve([b"bad"], computed) == ([value(0.0)], 0)
        assert store.num_failures["record"] == 1
        until(lambda: store.num_pending == 0)
        assert store.get([b"bad"]) == {b"bad": value(0.0)}, "the next value takes its place"


async def test_a_key_of_another_kind_is_a_miss(port: int) -> None:
    with closing(redis.Redis(port=port)) as other, made(port) as store:
        other.lpush(NAMESPACE + b"a", "x")
        assert await ScoreCache(store=store).resolve([b"a"], computed) == ([value(0.0)], 0)
        until(lambda: store.num_pending == 0)
        assert store.get([b"a"]) == {b"a": value(0.0)}


async def test_clearing_takes_what_is_ours_and_leaves_what_is_not(port: int) -> None:
    with closing(redis.Redis(port=port)) as other, made(port) as store:
        other.set("session:1", "theirs")
        other.set("mrt-reward:0.0.0:a", "of another release")
        cache = ScoreCache(store=store)
        await cache.resolve(keys("k", 1200), computed_small)
        until(lambda: store.num_pending == 0)
        assert other.dbsize() == 1202
        await cache.clear()
        assert sorted(other.keys("*")) == [b"mrt-reward:0.0.0:a", b"session:1"]


async def computed_small(indices: object) -> list[Value]:
    return [value(0.5)] * 1200


async def test_a_clear_that_the_server_did_not_take_says_so() -> None:
    port = free_port()
    with redis_server(port) as process, made(port) as store:
        process.kill()
        process.wait()
        with pytest.raises(StoreUnavailable, match=rf"redis://127\.0\.0\.1:{port}.*send it again"):
            await ScoreCache(store=store).clear()


@pytest.mark.parametrize("url", ["scores.sqlite", "http://cache:6379", "redis://cache:six"])
def test_what_is_no_address_of_such_a_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="cache_url: expected redis://") as caught:
        RedisRecords(url)
    assert caught.value.param == "cache_url"


def test_a_reply_of_something_else_is_a_miss() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, made(listener.getsockname()[1]) as store:
        assert store.get([b"a"]) == {}
        assert store.num_failures["read"] >= 1
