"""Who may ask a server without a key: programs of this machine, and no web page that a browser here has open.

A page of any site can send requests to loopback. What gives it away is its `Origin`, and, after its name was made to
lead here (DNS rebinding), the `Host` that the browser still sends. The server's own page asks from its own origin: its
`Origin` is the `Host` of the request itself, which no other page's is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import RequestRefused

ANYWHERE = frozenset({"0.0.0.0", "::", ""})
"""Addresses that stand for all of the machine's own."""

_HOST = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host of this name or address."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


class Visitors(Middleware):
    """Refuses requests with another `Origin` than the server's own, and those for a host that is not ours.

    Args:
        app: what is behind it.
        listening: the address that the server listens on.
        allowed: more names and addresses that it is reached under; `*` is any.

    """

    def __init__(self, app: ASGIApp, listening: str, allowed: Collection[str]) -> None:
        super().__init__(app)
        self._any = "*" in allowed
        self._addresses = listening in ANYWHERE
        self._allowed = frozenset(_name(host) for host in (listening, *allowed) if host)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        self._refuse_strangers(Headers(scope=scope), str(scope.get("scheme", "http")))
        await self._app(scope, receive, send)

    def _refuse_strangers(self, headers: Headers, scheme: str) -> None:
        hosts = headers.getlist("host")
        # Where any name is allowed, one that was made to lead here must not make its page ours.
        own = f"{scheme}://{hosts[0]}" if len(hosts) == 1 and self._is_known(_name(hosts[0])) else None
        if any(origin != own for origin in headers.getlist("origin")):
            raise RequestRefused(
                403,
                f"Origin {headers['origin'][:100]!r}: this server has no key, so it answers no web pages; send no "
                "Origin, or start it with MRT_REWARD_API_KEY",
                "forbidden",
            )
        if not all(self._is_ours(host) for host in hosts):  # A browser always names one.
            raise RequestRefused(
                403,
                f"Host {hosts[0][:100]!r} is not this server's: without a key it answers to loopback and its own "
                "only; start it with --allowed-hosts NAME, or with MRT_REWARD_API_KEY",
                "forbidden",
            )

    def _is_ours(self, host: str) -> bool:
        return self._any or self._is_known(_name(host))

    def _is_known(self, name: str) -> bool:
        # A name can be made to lead here, an address cannot.
        return name in self._allowed or is_loopback(name) or (self._addresses and _address(name) is not None)


def _name(host: str) -> str:
    """A host without its port, brackets and final dot, in lower case; as it is where it is no host and port."""
    host = host.strip().lower()
    found = _HOST.fullmatch(host)
    return (found["bracketed"] or found["name"]).removesuffix(".") if found else host


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
