"""`deploy/ray_serve/serve.yaml` with the bundled model, on a Ray cluster that this process starts and ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml
from ray import serve

from tests.deploy.kit import loaded
from tests.processes import children
from tests.ray_serve.environment import KEY
from tests.serving import free_port

NAME = "mrt-reward"
TOKENS_PER_REPLICA = 4_000
"""Of the bundled model's short traces, some dozens."""

MAX_WAIT_S = 240.0
MAX_STARTS = 5


@dataclass
class Application:
    """What a user deploys, but for the model, the resources and the times."""

    folder: Path
    port: int = field(default_factory=free_port)
    address: str = ""
    """Of the cluster."""
    pid: int = 0
    """Of the process whose descendants the cluster is."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def config(self, args: Mapping[str, object]) -> dict[str, Any]:
        config = loaded("ray_serve/serve.yaml")
        config["http_options"]["port"] = self.port
        [application] = config["applications"]
        application["args"] = {"engine": "transformers", "grader_workers": 1, **args}
        [replica] = application["deployments"]
        replica["ray_actor_options"] = {"num_cpus": 0.5}
        scaling = replica["autoscaling_config"]
        scaling |= {"max_replicas": 2, "look_back_period_s": 11, "upscale_delay_s": 1, "downscale_delay_s": 5}
        scaling["policy"]["policy_kwargs"]["tokens_per_replica"] = TOKENS_PER_REPLICA
        return config

    def deploy(self, **args: object) -> None:
        """Deploy as a user does, with these settings of the server, and wait until it runs."""
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(self.config(args)), encoding="utf-8")
        subprocess.run(
            [program("serve"), "run", "--non-blocking", "--address", self.address, path], check=True, timeout=MAX_WAIT_S
        )
        wait_until(lambda: self.status == "RUNNING")

    @property
    def status(self) -> str:
        applications = serve.status().applications
        return str(applications[NAME].status.value) if NAME in applications else "none"

    @property
    def num_replicas(self) -> int:
        """That take requests."""
        [replica] = serve.status().applications[NAME].deployments.values()
        return int(replica.replica_states.get("RUNNING", 0))  # type: ignore[call-overload]

    @contextmanager
    def running(self) -> Generator[Application]:
        try:
            with cluster() as (self.address, self.pid):
                ray.init(self.address, log_to_driver=False)
                self.deploy()
                yield self
                serve.shutdown()
        finally:
            ray.shutdown()

    @property
    def replica_pids(self) -> list[int]:
        found, num_seen = [self.pid], 0
        while num_seen < len(found):
            found += children(found[num_seen])
            num_seen += 1
        return [pid for pid in found if "ServeReplica" in _title(pid)]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


def wait_until(holds: Callable[[], bool], timeout_s: float = MAX_WAIT_S) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout_s, "it took too long"
        time.sleep(0.5)
    return time.monotonic() - began


@contextmanager
def cluster() -> Generator[tuple[str, int]]:
    """A Ray cluster on this machine: its address, and the process that it ends with."""
    port = free_port()
    command = [program("ray"), "start", "--head", "--block", f"--port={port}", "--num-cpus=2"]
    little = ["--object-store-memory=100000000", "--include-dashboard=false", "--include-log-monitor=false"]
    # Ray's own processes have 15 seconds to start, which is too little where the machine is busy.
    for _ in range(MAX_STARTS):
        # In the folder that Ray uses by itself it would leave its address, for other programs to connect to; and the
        # names of Ray's sockets are long.
        own = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        own_folder = [f"--temp-dir={own}", "--disable-usage-stats"]
        process = subprocess.Popen([*command, *little, *own_folder], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if any("Ray runtime started" in line for line in process.stdout):
                yield f"127.0.0.1:{port}", process.pid
                return
        finally:
            process.terminate()
            process.wait(MAX_WAIT_S)
            shutil.rmtree(own, ignore_errors=True)
    raise TimeoutError("Ray did not start")


def program(name: str) -> str:
    """Installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
