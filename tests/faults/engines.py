"""An engine that may be killed, stopped and started again, and the server in front of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from mrt_reward.mini import MODEL_DIR
from tests.faults.started import ROOT
from tests.serving import Server, free_port

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from mrt_reward.cli import main; main()"
"""A server whose prover is elsewhere needs none, and would spend most of its start on it."""


@dataclass
class Engine:
    """A process that answers completions.

    Attributes:
        folder: where its ledger is.
        port: always the same.

    """

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        """Hashes of the questions that it got, in order."""
        ledger = self.folder / "ledger"
        return ledger.read_text(encoding="ascii").split() if ledger.exists() else []

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = [sys.executable, "-m", "tests.faults.engine", str(self.port), self.folder / "ledger"]
        self.process = subprocess.Popen(words, cwd=ROOT)
        with httpx.Client(timeout=30) as http:
            while not self._answers(http):
                assert self.process.poll() is None, "the engine did not start"
                time.sleep(0.1)

    def _answers(self, http: httpx.Client) -> bool:
        try:
            return http.get(f"{self.url}/v1/models").is_success
        except httpx.TransportError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it, however it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def server_of(*engines: Engine) -> Server:
    """A server whose engines these are."""
    urls = ",".join(engine.url for engine in engines)
    settings = {"ENGINE": "openai", "ENGINE_URL": urls, "TOKENIZER": str(MODEL_DIR), "CANARY_EVERY_S": "0"}
    variables = {f"MRT_REWARD_{name}": text for name, text in settings.items()}
    return Server(None, settings=variables, program=("-c", WITHOUT_TORCH))


@asynccontextmanager
async def served_by(*engines: Engine) -> AsyncGenerator[Server]:
    """A server in front of engines, all ready; all are killed at the end."""
    server = server_of(*engines)
    try:
        await asyncio.gather(*(asyncio.to_thread(engine.start) for engine in engines))
        server.start()
        await asyncio.to_thread(server.wait)
        yield server
    finally:
        server.kill()
        for engine in engines:
            engine.kill()


@asynccontextmanager
async def served_elsewhere(folder: Path) -> AsyncGenerator[tuple[Engine, Server]]:
    """An engine, and a server in front of it."""
    engine = Engine(folder)
    async with served_by(engine) as server:
        yield engine, server


@asynccontextmanager
async def served_by_two(folder: Path) -> AsyncGenerator[tuple[Engine, Engine, Server]]:
    """Two engines that serve one model, and a server in front of them."""
    engines = Engine(folder / "first"), Engine(folder / "second")
    for engine in engines:
        engine.folder.mkdir()
    async with served_by(*engines) as server:
        yield *engines, server
