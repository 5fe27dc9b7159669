"""Signals: the first one begins a drain, which no further SIGTERM disturbs and a further SIGINT cuts short."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

import structlog

logger = structlog.stdlib.get_logger(__name__)


class Signals:
    """What the operator asked for so far.

    Attributes:
        stop: set by the first SIGTERM or SIGINT.
        hurry: set by a SIGINT after that: give up what is in flight.

    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def take(self, number: int) -> None:
        """Handle a signal: the first begins the drain."""
        if self.stop.is_set():
            logger.warning("signal_while_draining", signal=signal.Signals(number).name)
            if number == signal.SIGINT:
                self.hurry.set()
        self.stop.set()

    @contextmanager
    def handled(self) -> Generator[None]:
        """Handle both signals, to the very end, so that a late one cuts nothing off.

        They reach only the main thread; a server in another one is stopped by cancelling it.
        """
        numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
        loop = asyncio.get_running_loop()
        for number in numbers:
            loop.add_signal_handler(number, self.take, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
