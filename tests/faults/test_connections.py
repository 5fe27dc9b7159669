"""Connections that are slow, half open or reset: nobody else notices, and nothing of them stays."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mrt_reward.server.connections import MAX_HEAD_S
from tests.faults.scripted import Script
from tests.faults.started import Started, expected, started, trace, until, values_of
from tests.faults.table import Figure, Row
from tests.processes import num_descriptors

NUM_EACH, NUM_HEALTHY = 60, 40
TITLE = "bad connections harm nobody"


def head(server: Started, num_bytes: int) -> bytes:
    lines = ["POST /v1/score HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {num_bytes}", "", ""]).encode()


class Bad:
    """A caller who does not do his part.

    Args:
        server: whom he calls.
        body: that he ought to send.

    """

    def __init__(self, server: Started, body: bytes) -> None:
        self._server = server
        self._body = body

    async def _opened(self) -> asyncio.StreamWriter:
        address = urlsplit(self._server.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        return writer

    async def sends_half_a_head(self) -> asyncio.StreamWriter:
        writer = await self._opened()
        writer.write(head(self._server, len(self._body))[:40])
        return writer

    async def sends_nothing(self) -> asyncio.StreamWriter:
        return await self._opened()

    async def sends_slowly(self) -> asyncio.StreamWriter:
        writer = await self._opened()
        writer.write(head(self._server, len(self._body)))
        for start in range(3):
            writer.write(self._body[start : start + 1])
            await asyncio.sleep(0.1)
        return writer

    async def resets_in_the_body(self) -> None:
        writer = await self._opened()
        writer.write(head(self._server, len(self._body)) + self._body[: len(self._body) // 2])
        await writer.drain()
        _reset(writer)

    async def resets_in_the_reply(self) -> None:
        writer = await self._opened()
        writer.write(head(self._server, len(self._body)) + self._body)
        await writer.drain()
        await asyncio.sleep(0.05)
        _reset(writer)

    async def closes_his_half(self) -> asyncio.StreamWriter:
        writer = await self._opened()
        writer.write(head(self._server, len(self._body)) + self._body)
        writer.write_eof()
        return writer


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a machine that lost its power seems to."""
    found: Any = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


KINDS: tuple[Callable[[Bad], Any], ...] = (
    Bad.sends_half_a_head,
    Bad.sends_nothing,
    Bad.sends_slowly,
    Bad.resets_in_the_body,
    Bad.resets_in_the_reply,
    Bad.closes_his_half,
)


async def test_bad_connections_harm_nobody_and_leave_nothing(row: Row, tmp_path: Path) -> None:
    healthy = [trace(f"c{number}", 3) for number in range(NUM_HEALTHY)]
    right = await expected(Script(), healthy)
    log = tmp_path / "log"
    async with started(Script(delay_s=0.02), log) as server:
        await server.post([trace("warm")])
        before = num_descriptors(server.pid)
        bad = [Bad(server, json.dumps({"traces": [trace(f"bad{n}", 3)]}).encode()) for n in range(NUM_EACH)]
        misbehaving = asyncio.gather(*(kind(each) for each in bad for kind in KINDS))
        replies = [await server.post([each]) for each in healthy]
        left_open = [each for each in await misbehaving if each is not None]
        most = num_descriptors(server.pid)
        # Those who asked nothing are closed by the server, in its own time; the others go by themselves.
        await until(lambda: num_descriptors(server.pid) < most - NUM_EACH, MAX_HEAD_S * 4)
        for writer in left_open:
            writer.close()
        await until(lambda: num_descriptors(server.pid) <= before, 60)
        after, queued = num_descriptors(server.pid), await server.metric("mrt_reward_queue_tokens")
    scored = [each for reply in replies if reply.status_code == 200 for each in reply.json()["traces"]]
    num_right = sum(values_of(each) == right[each["id"]] for each in scored)
    done = f"{NUM_EACH * len(KINDS)}: half a head, nothing, slow, reset in the body, reset in the reply, half closed"
    row.found(Figure(TITLE, done, f"{num_right} healthy scores right", f"{NUM_HEALTHY}", num_right == NUM_HEALTHY))
    figure = f"{after - before:+d} descriptors, {queued:.0f} tokens queued afterwards; {most - before:+d} at most"
    row.found(Figure(TITLE, done, figure, "0, 0", after <= before and queued == 0))
    faults = [line for line in log.read_text().splitlines() if '"error"' in line or "Traceback" in line]
    faults = [line for line in faults if '"level": "error"' in line or "Traceback" in line]
    row.found(Figure(TITLE, done, f"{len(faults)} errors logged", "0", not faults))
