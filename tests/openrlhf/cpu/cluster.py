"""A Ray head of our own on this machine, and jobs that are submitted to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.openrlhf.cpu.run import environment
from tests.serving import free_port

BIN = Path(sys.executable).parent


@contextmanager
def ray_head(folder: Path) -> Generator[str]:
    """`ray start --head` with the CPU's shims in its environment; the address of its dashboard."""
    agent = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    ports = {name: free_port() for name in ("port", "dashboard-port", *agent, "ray-client-server-port")}
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=8", "--num-gpus=4", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    command += ["--object-store-memory=200000000", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
    # In the folder that Ray uses by itself it would leave its address, for other programs to connect to; and the names
    # of Ray's sockets are long.
    own = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    command.append(f"--temp-dir={own}")
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    with (folder / "head.txt").open("w") as printed:
        process = subprocess.Popen(
            command, env=environment(PATH=path), stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        url = f"http://127.0.0.1:{ports['dashboard-port']}"
        try:
            _wait(process, url, folder)
            yield url
        finally:
            # It stops what it started, and what it leaves is in its own group of processes.
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                shutil.rmtree(own, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/api/version", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise TimeoutError((folder / "head.txt").read_text()[-3000:])


def submit(folder: Path, url: str, words: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """`ray job submit` of a command with a working directory and variables; its exit status, and what it printed."""
    reported = json.dumps({"working_dir": str(folder), "env_vars": dict(variables)})
    command = [BIN / "ray", "job", "submit", "--address", url, "--runtime-env-json", reported, "--", *words]
    log = folder.parent / "log.txt"
    with log.open("w") as printed:
        done = subprocess.run(
            command, env=environment(), timeout=1500, check=False, stdout=printed, stderr=subprocess.STDOUT
        )
    return done.returncode, log.read_text()
