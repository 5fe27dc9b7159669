"""Both ports in one event loop, until told to stop; then a graceful drain."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager

import structlog
import uvicorn

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.server.app import create_admin_app, create_app
from mrt_reward.server.telemetry import Telemetry, configure_logs
from mrt_reward.service.scorer import Scorer

logger = structlog.stdlib.get_logger(__name__)


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`, which has two of them to stop."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def _server(app: object) -> _Server:
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - any ASGI application
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=5,
        lifespan="off",
    )
    return _Server(config)


def _listening(host: str, port: int, what: str) -> socket.socket:
    """A socket that is bound, so that a taken port is known before anything starts.

    Raises:
        ConfigError: the address cannot be had.

    """
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family, backlog=2048)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port} ({error}): choose another {what}", param=what) from error


async def serve(scorer: Scorer, settings: ServeSettings, *, on_ready: Callable[[int], object] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or cancellation, then finish what is in flight and close the scorer.

    Args:
        scorer: closed at the end.
        settings: addresses, limits, times.
        on_ready: called with the public port once the prover has generated a token and requests are taken.

    Raises:
        ConfigError: a port cannot be had.
        ProverUnavailable: the prover cannot prove at the start, or died; a supervisor should start anew.

    """
    configure_logs(settings.log_format)
    with ExitStack() as sockets:
        try:
            listening = [
                sockets.enter_context(_listening(host, port, what))
                for host, port, what in (
                    (settings.host, settings.port, "port"),
                    (settings.admin_host, settings.admin_port, "admin_port"),
                )
            ]
        except ConfigError:
            await scorer.close()
            raise
        await _serve_on(listening, scorer, settings, on_ready)


async def _serve_on(
    listening: Sequence[socket.socket],
    scorer: Scorer,
    settings: ServeSettings,
    on_ready: Callable[[int], object] | None,
) -> None:
    telemetry = Telemetry(scorer)
    servers = [_server(create_app(scorer, settings, telemetry)), _server(create_admin_app(scorer, settings, telemetry))]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Signals reach only the main thread; a server in another one is stopped by cancelling it.
    signals = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    running = [
        asyncio.create_task(server.serve(sockets=[sock])) for server, sock in zip(servers, listening, strict=True)
    ]
    stopping = asyncio.create_task(stop.wait())
    dying = asyncio.create_task(scorer.wait_dead())
    try:
        await _until_up(scorer, servers, running, stopping)
        if not stop.is_set():
            port = int(listening[0].getsockname()[1])
            admin_port = int(listening[1].getsockname()[1])
            logger.info("serving", model=scorer.info.model, host=settings.host, port=port, admin_port=admin_port)
            if on_ready is not None:
                on_ready(port)
        await asyncio.wait({stopping, dying, *running}, return_when=asyncio.FIRST_COMPLETED)
        if dying.done():
            logger.error("prover_died", cause=str(dying.result()))
            raise dying.result()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        stopping.cancel()
        dying.cancel()
        await _shut_down(scorer, settings, servers, running)


async def _until_up(
    scorer: Scorer, servers: Sequence[_Server], running: Sequence[asyncio.Task[None]], stopping: asyncio.Task[bool]
) -> None:
    """Wait until the prover has generated a token and both ports answer, or until there is a reason not to."""
    checking = asyncio.create_task(scorer.check())
    try:
        await asyncio.wait({checking, stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
        if checking.done():
            checking.result()
        # uvicorn says that it has started by a flag alone.
        while not all(server.started for server in servers) and not any(  # noqa: ASYNC110
            task.done() for task in (*running, stopping)
        ):
            await asyncio.sleep(0.01)
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)


async def _shut_down(
    scorer: Scorer, settings: ServeSettings, servers: Sequence[_Server], running: Sequence[asyncio.Task[None]]
) -> None:
    logger.info("draining", timeout_s=settings.drain_timeout_s)
    try:
        await asyncio.wait_for(scorer.drain(), settings.drain_timeout_s)
    except (TimeoutError, asyncio.TimeoutError):
        logger.warning("drain_timed_out", timeout_s=settings.drain_timeout_s)
    for server in servers:
        server.should_exit = True
    results = await asyncio.gather(*running, return_exceptions=True)
    await scorer.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
