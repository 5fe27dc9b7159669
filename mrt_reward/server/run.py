"""Both ports in one event loop, until told to stop; then a graceful drain."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import structlog
import uvicorn

from mrt_reward.config import ServeSettings
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

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def _server(app: object, host: str, port: int) -> _Server:
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - any ASGI application
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        lifespan="off",
    )
    return _Server(config)


async def serve(scorer: Scorer, settings: ServeSettings, *, on_ready: Callable[[int], object] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or cancellation, then finish what is in flight and close the scorer.

    Args:
        scorer: closed at the end.
        settings: addresses, limits, times.
        on_ready: called with the public port once the prover has generated a token and requests are taken.

    """
    configure_logs(settings.log_format)
    telemetry = Telemetry(scorer)
    public = _server(create_app(scorer, settings, telemetry), settings.host, settings.port)
    admin = _server(create_admin_app(scorer, settings, telemetry), settings.admin_host, settings.admin_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Signals reach only the main thread; a server in another one is stopped by cancelling it.
    signals = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    running = [asyncio.create_task(server.serve()) for server in (public, admin)]
    stopping = asyncio.create_task(stop.wait())
    try:
        await scorer.check()
        # uvicorn says that it has started by a flag alone.
        while not (public.started and admin.started) and not any(  # noqa: ASYNC110
            task.done() for task in running
        ):
            await asyncio.sleep(0.01)
        if not any(task.done() for task in running):
            logger.info("serving", model=scorer.info.model, host=settings.host, port=public.port)
            if on_ready is not None:
                on_ready(public.port)
        await asyncio.wait({stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        stopping.cancel()
        await _shut_down(scorer, settings, (public, admin), running)


async def _shut_down(
    scorer: Scorer, settings: ServeSettings, servers: tuple[_Server, _Server], running: list[asyncio.Task[None]]
) -> None:
    logger.info("draining", timeout_s=settings.drain_timeout_s)
    try:
        await asyncio.wait_for(scorer.drain(), settings.drain_timeout_s)
    except (TimeoutError, asyncio.TimeoutError):
        logger.warning("drain_timed_out", timeout_s=settings.drain_timeout_s)
    for server in servers:
        server.should_exit = True
    # uvicorn exits through SystemExit when a port is taken; the other server and the scorer are closed all the same.
    results = await asyncio.gather(*running, return_exceptions=True)
    await scorer.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
