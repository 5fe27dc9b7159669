"""The real server, as a user starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class Server:
    """`mrt-reward serve` as a user starts it."""

    weights_root: Path | None
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    api_key: str = ""
    settings: dict[str, str] = field(default_factory=dict[str, str])
    """More of them, as variables of the environment."""
    program: tuple[str, ...] = ("-m", "mrt_reward.cli")
    """What Python runs."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        ports = [f"--port={self.port}", f"--admin-port={self.admin_port}"]
        weights = [] if self.weights_root is None else [f"--weights-root={self.weights_root}"]
        command = [sys.executable, *self.program, "serve", *ports, *weights, "--log-format=off"]
        key = {"MRT_REWARD_API_KEY": self.api_key} if self.api_key else {}
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **key, **self.settings})

    def wait(self) -> None:
        until = time.monotonic() + 300
        # One client for all questions: making one costs more than asking.
        with httpx.Client(timeout=5) as http:
            while time.monotonic() < until and self.process is not None and self.process.poll() is None:
                with suppress(httpx.HTTPError):
                    if http.get(f"{self.url}/readyz").is_success:
                        return
                time.sleep(0.5)
        raise TimeoutError("the server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
