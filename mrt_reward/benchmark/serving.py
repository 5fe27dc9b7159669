"""Servers as processes of their own, on loopback, for as long as they are measured: ours, and vLLM's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from mrt_reward.config import ServeSettings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError

START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.2

VLLM_ON_CPU = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}
"""What our own engine sets on a CPU, so that peers have it too."""

ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""That an engine runs in the process that asks it, as ours does on a CPU."""


def environment_of(settings: ServeSettings) -> dict[str, str]:
    """Variables that give a server the same engine; keys come with the environment."""
    names = set(EngineSettings.model_fields) - {"engine_api_key"}
    figures_of = settings.model_dump(mode="json", include=names, exclude_none=True)
    return {
        f"MRT_REWARD_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in figures_of.items()
    }


@asynccontextmanager
async def our_server(settings: ServeSettings) -> AsyncGenerator[str]:
    """URL of `mrt-reward serve` with the same engine, once it can prove.

    Raises:
        ConfigError: it does not start.

    """
    command = [sys.executable, "-m", "mrt_reward.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--admin-port", "0", "--log-format", "off"]
    async with running(command, environment_of(settings)) as server:
        yield await server.figures_of(re.compile(r"ready: (http://\S+)"))


@asynccontextmanager
async def vllm_server(
    model: Path, flags: Sequence[str], environment: Mapping[str, str]
) -> AsyncGenerator[tuple[str, Callable[[], str]]]:
    """URL and last words of vLLM's own OpenAI server on a model, which it serves under the name `prover`.

    Raises:
        ConfigError: it does not start.

    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with running(vllm_command(model, port, flags), environment) as server:
        await server.answers(f"{url}/health")
        yield url, server.last_words


def vllm_command(model: Path, port: int, flags: Sequence[str]) -> list[str]:
    """What starts vLLM's own OpenAI server on a model, under the name `prover`."""
    # The `vllm serve` command of the CPU build cannot find its own version.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--model", str(model), "--served-model-name", "prover", "--uvicorn-log-level", "warning", *flags]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


Look = Callable[[], Awaitable[str | None]]
"""What was waited for, or None so far."""


class ServerProcess:
    """A server's process, and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def figures_of(self, pattern: re.Pattern[str]) -> str:
        """What the first group of the pattern matches, once the server writes it."""

        async def look() -> str | None:
            found = pattern.search(self._log.read_text(errors="replace"))
            return found and found[1]

        return await self._until(look)

    async def answers(self, url: str) -> None:
        """Wait until a GET succeeds."""
        async with httpx.AsyncClient() as client:

            async def look() -> str | None:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url, timeout=5.0)).is_success:
                        return url
                return None

            await self._until(look)

    async def _until(self, look: Look) -> str:
        clock = asyncio.get_running_loop()
        ends_at = clock.time() + START_TIMEOUT_S
        while clock.time() < ends_at and self._process.returncode is None:
            found = await look()
            if found:
                return found
            await asyncio.sleep(POLL_S)
        raise ConfigError(
            f"a server for the benchmark did not start within {START_TIMEOUT_S:g} s, it said: {self.last_words()}"
        )

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    async def kill(self) -> None:
        """End it at once, with the processes that it started, as where its machine is lost."""
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        """End it; by force where it does not go."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except (TimeoutError, asyncio.TimeoutError):
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str]) -> AsyncGenerator[ServerProcess]:
    """A process, from its start to its end; variables are added to those of this process."""
    with tempfile.TemporaryDirectory(prefix="mrt-reward-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        server = ServerProcess(process, log)
        try:
            yield server
        finally:
            await server.stop()
