"""The end of a process that has done its work, whatever its threads still do."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import NoReturn

GRACE_S = 3.0
"""For threads to finish by themselves; what they work on has no taker any more."""


def end_soon(status: int, message: str = "") -> None:
    """End the process with this status after `GRACE_S`, unless it has ended by then.

    A thread cannot be stopped, and Python waits for all of them, for ever. Call this once everything that must be
    closed is closed.

    Args:
        status: of the process.
        message: for whoever started it.

    """

    def end() -> NoReturn:
        if message:
            sys.stderr.write(f"{message}\n")
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)

    timer = threading.Timer(GRACE_S, end)
    timer.daemon = True
    timer.start()
