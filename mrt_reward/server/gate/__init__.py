"""What a request passes before a route sees it: one middleware a concern.

`guard` is the order. Nothing here knows the routes, the scorer or the rest of the server.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import FastAPI

from mrt_reward.server.gate.access import Access, Count
from mrt_reward.server.gate.admission import Admission, Admit
from mrt_reward.server.gate.bodies import Bodies, BodyLimits
from mrt_reward.server.gate.callers import Callers
from mrt_reward.server.gate.failures import Failures
from mrt_reward.server.gate.gzipped import Gzip
from mrt_reward.server.gate.keyring import Keyring
from mrt_reward.server.gate.keys import Key
from mrt_reward.server.gate.request_ids import RequestIds
from mrt_reward.server.gate.visitors import Visitors
from mrt_reward.server.gate.waiting import Stopping


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who and what is let in at one port.

    Attributes:
        keyring: of which callers must send a key; None lets in what comes from this machine's programs.
        host: the address that is listened on.
        allowed_hosts: more names and addresses that the port is reached under.
        limits: bounds of request bodies.
        admit: asked before a body is read; None admits all.

    """

    keyring: Keyring | None
    host: str
    allowed_hosts: Collection[str]
    limits: BodyLimits
    admit: Admit | None = None


def guard(app: FastAPI, entrance: Entrance, stopping: Stopping, count: Count) -> None:
    """Put the middlewares around an application. They are added from the inside out: read from below."""
    app.add_middleware(Bodies, limits=entrance.limits, stopping=stopping)
    app.add_middleware(Gzip)
    if entrance.admit is not None:
        app.add_middleware(Admission, admit=entrance.admit)
    app.add_middleware(Callers)
    if entrance.keyring is None:
        app.add_middleware(Visitors, listening=entrance.host, allowed=entrance.allowed_hosts)
    else:
        app.add_middleware(Key, keyring=entrance.keyring)
    app.add_middleware(Failures)
    app.add_middleware(Access, count=count)
    app.add_middleware(RequestIds)
