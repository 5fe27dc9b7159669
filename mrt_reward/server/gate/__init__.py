"""What a request passes before a route sees it: one middleware a concern."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import FastAPI

from mrt_reward.server.calls import Stopping
from mrt_reward.server.gate.access import Access
from mrt_reward.server.gate.bodies import Admission, Bodies, BodyLimits
from mrt_reward.server.gate.callers import Callers
from mrt_reward.server.gate.keys import Key
from mrt_reward.server.gate.visitors import Visitors
from mrt_reward.server.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who is let in at one port.

    Attributes:
        key: that callers must send; None lets in what comes from this machine's programs.
        host: the address that is listened on.
        allowed_hosts: more names and addresses that the port is reached under.

    """

    key: str | None
    host: str
    allowed_hosts: Collection[str] = ()


def guard(
    app: FastAPI, telemetry: Telemetry, entrance: Entrance, limits: BodyLimits, admit: Admission | None = None
) -> None:
    """Put the middlewares around an application; the last one added is asked first."""
    stopping: Stopping = app.state.stopping
    app.add_middleware(Callers)
    app.add_middleware(Bodies, limits=limits, stopping=stopping, admit=admit)
    if entrance.key is None:
        app.add_middleware(Visitors, listening=entrance.host, allowed=entrance.allowed_hosts)
    else:
        app.add_middleware(Key, key=entrance.key)
    app.add_middleware(Access, telemetry=telemetry)
