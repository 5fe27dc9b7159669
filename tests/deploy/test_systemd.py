"""The unit's own command line serves, and ends as systemd expects."""

from __future__ import annotations

import asyncio
import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mrt_reward.config import ServeSettings
from tests.deploy.kit import DEPLOY, ROOT

UNIT = DEPLOY / "systemd/mrt-reward.service"


def section(name: str) -> dict[str, str]:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign] - names keep their case
    unit.read(UNIT)
    return dict(unit[name])


def test_the_unit_waits_for_the_drain_and_restarts_what_fails() -> None:
    service = section("Service")
    assert int(service["TimeoutStopSec"]) > ServeSettings.model_fields["drain_timeout_s"].default
    assert service["Restart"] == "on-failure"
    assert (service["ProtectSystem"], service["NoNewPrivileges"], service["User"]) == ("strict", "yes", "mrt-reward")
    written = {f"/var/lib/{service['StateDirectory']}", f"/var/cache/{service['CacheDirectory']}"}
    folders = {str(Path(word).parent) for word in shlex.split(service["ExecStart"]) if word.startswith("/var")}
    assert folders <= written


async def test_its_command_line_serves_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    service = section("Service")
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/mrt-reward")
    config = tmp_path / "config.toml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config.write_text(f"port = {port}\nadmin_port = 0\n")
    moved = [word.replace("/var/lib/mrt-reward", str(tmp_path)) for word in words]
    pairs = [pair.split("=", 1) for pair in shlex.split(service["Environment"])]
    environment = {name: text.replace("/etc/mrt-reward", str(tmp_path)) for name, text in pairs}
    given = {**os.environ, **environment, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mrt_reward.cli", *moved, env=given, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            await _until_ready(http, server)
            assert (await http.get("/version")).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.wait(), 60) == 0
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
    assert (tmp_path / "scores.sqlite").is_file()


async def _until_ready(http: httpx.AsyncClient, server: asyncio.subprocess.Process) -> None:
    stderr = server.stderr
    assert stderr is not None
    line = b"-"
    while line and b"ready: http" not in line:
        line = await asyncio.wait_for(stderr.readline(), 300)
    assert line, "the server ended before it was ready"
    assert (await http.get("/readyz")).status_code == 200


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_but_that_the_server_is_not_installed_here(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/mrt-reward/bin/mrt-reward", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
