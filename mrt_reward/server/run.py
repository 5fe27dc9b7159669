"""Both ports in one event loop, until a signal; then a graceful drain."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.server.app import create_admin_app, create_app
from mrt_reward.server.connections import Server, bounded_server, quiet_troubles
from mrt_reward.server.listening import connection_limits, listening, refuse_open_addresses
from mrt_reward.server.stopping import Signals
from mrt_reward.server.telemetry import Telemetry, configure_logs, spans_asked_for
from mrt_reward.server.tls import tls_context
from mrt_reward.service.scorer import Scorer

if TYPE_CHECKING:
    from mrt_reward.server.otel import Spans

logger = structlog.stdlib.get_logger(__name__)


async def serve(scorer: Scorer, settings: ServeSettings, *, on_ready: Callable[[int], object] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or cancellation, then finish what is in flight and close the scorer.

    Args:
        scorer: closed at the end.
        settings: addresses, limits, times.
        on_ready: called with the public port once the prover has generated a token and requests are taken.

    Raises:
        ConfigError: a port is unavailable, or is open to other machines without a key; keys or files of TLS are wrong.
        ProverUnavailable: the prover cannot prove at the start, or died; a supervisor should start anew.

    """
    configure_logs(settings.log_format)
    with ExitStack() as stack:
        try:
            refuse_open_addresses(settings)
            tls = tls_context(settings)
            sockets = [
                stack.enter_context(listening(host, port, what))
                for host, port, what in (
                    (settings.host, settings.port, "port"),
                    (settings.admin_host, settings.admin_port, "admin_port"),
                )
            ]
        except ConfigError:
            await scorer.close()
            raise
        stack.enter_context(quiet_troubles(asyncio.get_running_loop()))
        signals = Signals()
        with signals.handled():
            await _serve_on(_Doors(sockets, tls), scorer, settings, signals, on_ready)


@dataclass(frozen=True, slots=True)
class _Doors:
    """The sockets of the public port and of the admin port, and what both encrypt with."""

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class _Ports:
    """Both applications, while they are served."""

    apps: Sequence[FastAPI]
    servers: Sequence[Server]
    running: Sequence[asyncio.Task[None]]
    spans: Spans | None

    @classmethod
    def opened(cls, doors: _Doors, scorer: Scorer, settings: ServeSettings) -> _Ports:
        """Start both servers on the sockets that are bound."""
        telemetry = Telemetry(scorer)
        apps = [create_app(scorer, settings, telemetry), create_admin_app(scorer, settings, telemetry)]
        spans = spans_asked_for()
        if spans is not None:
            for app in apps:
                spans.follow(app)
        limits = connection_limits(settings)
        servers = [bounded_server(app, limit, doors.tls) for app, limit in zip(apps, limits, strict=True)]
        running = [
            asyncio.create_task(server.serve(sockets=[sock]))
            for server, sock in zip(servers, doors.sockets, strict=True)
        ]
        return cls(apps, servers, running, spans)

    async def closed(self) -> None:
        """Give up what is still in flight, and stop."""
        for app in self.apps:
            app.state.stopping.now()
        for server in self.servers:
            server.should_exit = True
        results = await asyncio.gather(*self.running, return_exceptions=True)
        if self.spans is not None:
            await self.spans.close()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


async def _serve_on(
    doors: _Doors,
    scorer: Scorer,
    settings: ServeSettings,
    signals: Signals,
    on_ready: Callable[[int], object] | None,
) -> None:
    ports = _Ports.opened(doors, scorer, settings)
    stopping = asyncio.create_task(signals.stop.wait())
    dying = asyncio.create_task(scorer.wait_dead())
    watching = [asyncio.create_task(scorer.canary.watch(settings.canary_every_s))]
    try:
        await _until_up(scorer, ports, stopping, with_canary=settings.canary_every_s > 0)
        if not signals.stop.is_set():
            port, admin_port = (int(sock.getsockname()[1]) for sock in doors.sockets)
            info = scorer.info
            logger.info(
                "serving",
                model=info.model,
                num_threads=info.num_threads,
                host=settings.host,
                port=port,
                admin_port=admin_port,
                https=doors.tls is not None,
            )
            watching.append(asyncio.create_task(scorer.false_progress.watch(settings.canary_every_s)))
            if on_ready is not None:
                on_ready(port)
        await asyncio.wait({stopping, dying, *ports.running}, return_when=asyncio.FIRST_COMPLETED)
        if dying.done():
            logger.error("prover_died", cause=str(dying.result()))
            raise dying.result()
    finally:
        stopping.cancel()
        dying.cancel()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await _drain(scorer, settings.drain_timeout_s, signals.hurry)
        try:
            await ports.closed()
        finally:
            await scorer.close()


async def _until_up(scorer: Scorer, ports: _Ports, stopping: asyncio.Task[bool], *, with_canary: bool) -> None:
    """Wait until the prover has proved its first and both ports answer, or until there is a reason not to."""
    checking = asyncio.create_task(first_proved(scorer, with_canary=with_canary))
    try:
        await asyncio.wait({checking, stopping, *ports.running}, return_when=asyncio.FIRST_COMPLETED)
        if checking.done():
            checking.result()
        # uvicorn says that it has started by a flag alone.
        while not all(server.started for server in ports.servers) and not any(  # noqa: ASYNC110
            task.done() for task in (*ports.running, stopping)
        ):
            await asyncio.sleep(0.01)
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)


async def first_proved(scorer: Scorer, *, with_canary: bool) -> None:
    """Have the prover generate a token, and with `with_canary` prove its known trace, before anybody asks it.

    Raises:
        ProverUnavailable: it cannot, or gives one trace different values.

    """
    await scorer.check()
    if with_canary:
        await scorer.canary.prove()
        scorer.canary.refuse_if_wrong()


async def _drain(scorer: Scorer, timeout_s: float, hurry: asyncio.Event) -> None:
    """Wait for what is in flight, until it is done, the time is over or somebody is in a hurry."""
    logger.info("draining", timeout_s=timeout_s)
    scorer.activity.end()
    draining, hurrying = asyncio.create_task(scorer.drain()), asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait({draining, hurrying}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            logger.warning("drain_cut_short", timeout_s=timeout_s, hurried=hurry.is_set())
    finally:
        draining.cancel()
        hurrying.cancel()
        await asyncio.gather(draining, hurrying, return_exceptions=True)
