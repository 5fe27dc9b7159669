"""Several fakes under one transport, each at a host of its own, which may go away and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import httpx


class Switchboard(httpx.AsyncBaseTransport):
    """Connects hosts.

    Args:
        hosts: by name.

    Attributes:
        down: hosts where nobody listens.
        cut: hosts whose next replies are lost, after the request was read.
        waits: requests of which this is true are accepted, and not read until it is not.
        tries: hosts that were called, in order, those that were down included.

    """

    def __init__(self, hosts: Mapping[str, httpx.AsyncBaseTransport]) -> None:
        self._hosts = dict(hosts)
        self.down: set[str] = set()
        self.cut: set[str] = set()
        self.waits: Callable[[httpx.Request], bool] = lambda _: False
        self.tries: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Of the host that is called."""
        host = request.url.host
        self.tries.append(host)
        if host in self.down:
            raise httpx.ConnectError("refused")
        if host in self.cut:
            raise httpx.ReadError("the server went away")
        while self.waits(request):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
        return await self._hosts[host].handle_async_request(request)
