"""Connections that cost little until they ask something, and after that only while their callers do their part.

They are bounded in number, in the size of a head and its time, and in the time in which nothing of a reply is taken.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mrt_reward.server.listening import BACKLOG

logger = structlog.stdlib.get_logger(__name__)

MAX_HEAD_S = 20.0
"""Time for a request's head to arrive."""

MAX_HEAD_BYTES = 32_768
KEEP_ALIVE_S = 75
"""How long a connection that asked something may stay open without asking more."""

MAX_STALL_S = 30.0
MIN_TAKEN_BYTES = 65_536
"""Of a reply that waits to be taken, a caller takes this much in that time, or is gone: it holds the reply's memory."""

ACCEPTED_AT_ONCE = 4
"""Connections accepted before what they sent is read: few, so that one that asks at once is not taken for idle."""

QUIET_S = 10.0
"""The same trouble is logged once in this time."""


class BoundedProtocol(H11Protocol):
    """One connection. Where there are too many, the one that has been asking nothing for longest makes room."""

    quiet_since = 0.0
    """When this connection last sent something or was answered, on the loop's clock."""

    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _dropped = False

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        # uvicorn declares a request that is only there once the first one came.
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    @property
    def asked(self) -> bool:
        """Whether it ever sent a whole head."""
        cycle: Any = self.cycle
        return cycle is not None

    @property
    def waiting(self) -> bool:
        """Whether it is the caller's turn: to ask, or to send the rest of a body."""
        cycle: Any = self.cycle
        return self.idle or bool(cycle.more_body)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room, and wait for a head."""
        super().connection_made(transport)
        self.quiet_since = self.loop.time()
        self._timer = self.loop.call_later(MAX_HEAD_S, self.drop)
        limit = self.limit_concurrency
        if limit is not None and len(self.connections) >= limit:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the time for its head runs from its first byte."""
        self.quiet_since = self.loop.time()
        super().data_received(data)
        if self.idle:
            self._timer = self._timer or self.loop.call_later(MAX_HEAD_S, self.drop)
        else:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Note since when the connection is idle."""
        self.quiet_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the caller to take what was sent, as long as some of it is taken."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The peer reads again: stop watching for a stalled one."""
        self._stop_watching()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers of the connection."""
        self._stop_timer()
        self._stop_watching()
        super().connection_lost(exc)

    def standing(self) -> tuple[bool, float]:
        """What connections that wait are ordered by when one has to go: whether it ever asked, and how long ago."""
        return self.asked, self.quiet_since

    def drop(self) -> None:
        """Close it, whatever is still to be sent."""
        self._dropped = True
        self.transport.abort()

    def _make_room(self) -> None:
        others = (each for each in self.connections if each is not self and isinstance(each, BoundedProtocol))
        waiting = [each for each in others if each.waiting and not each._dropped]  # noqa: SLF001 - its own class
        # Who never asked anything goes first.
        oldest = min(waiting, key=BoundedProtocol.standing, default=None)
        if oldest is not None:
            oldest.drop()

    def _watch(self, num_unsent: int) -> None:
        self._stop_watching()
        self._stall = self.loop.call_later(MAX_STALL_S, self._drop_unless_taken, num_unsent)

    def _drop_unless_taken(self, before: int) -> None:
        num_unsent = self.transport.get_write_buffer_size()
        if num_unsent > before - MIN_TAKEN_BYTES:
            self.drop()
        else:
            self._watch(num_unsent)

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """A server that leaves signals to `serve`, which has two of them to stop."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals' handlers as they are."""
        yield

    async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - uvicorn's own
        """Listen. asyncio would accept as many connections at once as the system may keep waiting."""
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(BACKLOG)


def bounded_server(app: object, max_connections: int, tls: ssl.SSLContext | None = None) -> Server:
    """A server of HTTP, or of HTTPS alone, with at most this many connections."""
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - any ASGI application
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=max_connections + 1,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        backlog=ACCEPTED_AT_ONCE,
        lifespan="off",
    )
    config.load()
    config.ssl = tls
    return Server(config)


class _Quiet:
    """Says the same at most once in `QUIET_S`."""

    def __init__(self) -> None:
        self._said_at: dict[str, float] = {}

    def say(self, event: str, what: str, **more: object) -> None:
        now = time.monotonic()
        self._said_at = {said: at for said, at in self._said_at.items() if at > now - QUIET_S}
        if what not in self._said_at and len(self._said_at) < 100:
            self._said_at[what] = now
            logger.warning(event, what=what, **more)


class _Forwarding(logging.Handler):
    def __init__(self, quiet: _Quiet) -> None:
        super().__init__(logging.WARNING)
        self._quiet = quiet

    def emit(self, record: logging.LogRecord) -> None:
        """Say the words of a record, without the stack trace, which may quote a caller's text."""
        error = record.exc_info[1] if record.exc_info else None
        self._quiet.say("http_server", str(record.msg).strip()[:200], error=type(error).__name__ if error else None)


@contextmanager
def quiet_troubles(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Log what uvicorn and the event loop complain about in our own format, and the same only once in a while."""
    quiet = _Quiet()
    uvicorns, handler = logging.getLogger("uvicorn.error"), _Forwarding(quiet)

    def on_trouble(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        quiet.say("event_loop", str(context.get("message")), error=None if error is None else repr(error)[:200])

    before = loop.get_exception_handler()
    loop.set_exception_handler(on_trouble)
    uvicorns.addHandler(handler)
    propagate, uvicorns.propagate = uvicorns.propagate, False
    try:
        yield
    finally:
        uvicorns.propagate = propagate
        uvicorns.removeHandler(handler)
        loop.set_exception_handler(before)
