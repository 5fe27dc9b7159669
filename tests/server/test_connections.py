"""Connections: prompt, bounded in number, in the size of a head and in its time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server import connections
from mrt_reward.server.connections import BoundedProtocol, quiet_troubles
from mrt_reward.server.telemetry import configure_logs
from tests.server.conftest import TRACE, VALUES, Live, live_server, post

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
JSON = {"content-type": "application/json"}
HEAD = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"


def port_of(live: Live) -> int:
    return int(live.url.rsplit(":", 1)[1])


@contextlib.asynccontextmanager
async def opened(live: Live, number: int) -> AsyncGenerator[list[Streams]]:
    streams = [await asyncio.open_connection("127.0.0.1", port_of(live)) for _ in range(number)]
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in streams), return_exceptions=True)


async def test_small_replies_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[int] = []
    plain = BoundedProtocol.connection_made

    def noted(self: BoundedProtocol, transport: Any) -> None:
        sock: socket.socket = transport.get_extra_info("socket")
        accepted.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        plain(self, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", noted)
    for host in ("127.0.0.1", "localhost"):
        async with live_server(host=host) as live:
            await live.http.get("/livez")
    assert len(accepted) == 2
    assert all(accepted)


async def test_a_connection_that_asks_nothing_makes_room_for_one_that_does() -> None:
    async with live_server(max_connections=8) as live, opened(live, 8) as silent:
        async with opened(live, 1) as [(reader, writer)]:
            writer.write(HEAD + b"\r\n")
            assert b" 200 " in await asyncio.wait_for(reader.read(100), 5)
        # The one that was silent for longest is gone, and nobody else.
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(silent[0][0].read(1), 5) == b""
        reader, writer = silent[-1]
        writer.write(HEAD + b"\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.read(100), 5)


async def test_who_is_being_answered_makes_room_for_nobody() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=0.5), max_connections=16) as live:
        running = [asyncio.create_task(post(live, "/v1/score", {"traces": [TRACE]})) for _ in range(3)]
        async with opened(live, 100):
            assert [(await task).status_code for task in running] == [200] * 3


async def test_bodies_that_do_not_arrive_lock_nobody_out() -> None:
    half = (
        b"POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    )
    async with live_server(max_connections=8) as live, opened(live, 20) as streams:
        for _, writer in streams:
            writer.write(half)
        for _ in range(3):
            async with opened(live, 1) as [(reader, writer)]:
                writer.write(HEAD + b"\r\n")
                assert b" 200 " in await asyncio.wait_for(reader.read(100), 5)


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_a_caller_who_takes_nothing_of_a_large_reply_is_left(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(connections, "MAX_STALL_S", 1.0)
    dropped, plain = asyncio.Event(), BoundedProtocol.drop

    def noted(self: BoundedProtocol) -> None:
        dropped.set()
        plain(self)

    monkeypatch.setattr(BoundedProtocol, "drop", noted)
    trace = {**TRACE, "metadata": {"large": "x" * 12_000_000}}
    body = json.dumps({"traces": [trace]}).encode()
    head = f"POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: {kind}\r\n"
    async with live_server() as live:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port_of(live)))
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await asyncio.wait_for(dropped.wait(), 20)
        dropped.clear()
        # Whoever takes it, however slowly, gets all of it.
        async with live.http.stream("POST", "/v1/score", content=body, headers=JSON | {"accept": kind}) as reply:
            num_bytes = 0
            async for piece in reply.aiter_bytes(500_000):
                num_bytes += len(piece)
                await asyncio.sleep(0.01)
        assert num_bytes > 12_000_000
        assert not dropped.is_set()


async def test_half_a_head_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_HEAD_S", 0.2)
    async with live_server() as live, opened(live, 2) as streams:
        streams[1][1].write(HEAD)
        for reader, _ in streams:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(100), 5) == b""
        # On a kept-alive connection too, from the first byte of the next head.
        async with opened(live, 1) as [(reader, writer)]:
            writer.write(HEAD + b"\r\n")
            assert b" 200 " in await asyncio.wait_for(reader.read(1000), 5)
            writer.write(HEAD)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(1000), 5) == b""


async def test_a_request_that_takes_long_is_not_cut_off_with_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_HEAD_S", 0.1)
    async with live_server(ScriptedProver(VALUES, delay_s=0.5)) as live:
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 200


async def test_a_head_without_end_is_refused_after_a_few_kilobytes(live: Live) -> None:
    async with opened(live, 1) as [(reader, writer)]:
        writer.write(HEAD + b"x-a: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000 and not reader.at_eof():
                writer.write(b"a" * 65_536)
                await writer.drain()
                sent += 65_536
                await asyncio.sleep(0)
    assert sent < 10_000_000


async def test_an_idle_connection_is_kept_for_longer_than_a_pool_keeps_it(live: Live) -> None:
    assert connections.KEEP_ALIVE_S >= 60
    async with opened(live, 1) as [(reader, writer)]:
        for _ in range(2):
            writer.write(HEAD + b"\r\n")
            assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"}"), 5)


async def test_a_server_out_of_descriptors_comes_back_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with live_server() as live:
        await live.http.get("/livez")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = [socket.socket() for _ in range(3)]
        lowest = spare[-1].fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
        clients: list[socket.socket] = []
        try:
            for sock in spare:
                sock.close()
            for _ in range(3):  # Each takes one here, and the server has none left to accept with.
                client = socket.socket()
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(("127.0.0.1", port_of(live)))
                clients.append(client)
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in clients:
                client.close()
        async with httpx.AsyncClient() as fresh:
            assert (await fresh.get(f"{live.url}/livez", timeout=10)).status_code == 200


async def test_the_same_trouble_is_reported_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    loop = asyncio.get_running_loop()
    with quiet_troubles(loop):
        for _ in range(1000):
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": OSError(24)})
            logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
            logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=ValueError("private"))
    output = capsys.readouterr().err
    assert len(output.splitlines()) == 3
    assert "private" not in output
    assert "Traceback" not in output
