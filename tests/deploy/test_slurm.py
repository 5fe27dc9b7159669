"""The batch scripts, run for real with stand-ins for SLURM, Ray, vLLM and the prover."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mrt_reward.config import ServeSettings
from mrt_reward.training.settings import TrainingSettings
from tests.deploy.kit import DEPLOY, ROOT

SLURM = DEPLOY / "slurm"
SCRIPTS = sorted(SLURM.iterdir())

LISTENER = """#!{python}
import http.server, os, sys, threading
words = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    calls.write(f"{{os.path.basename(sys.argv[0])}} [{{gpus}}] {{' '.join(words)}}\\n")
if "--fail" in words:
    sys.exit(3)
class Up(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
ports = [int(words[words.index(flag) + 1]) for flag in ("--admin-port", "--port") if flag in words]
servers = [http.server.HTTPServer(("127.0.0.1", port), Up) for port in ports]
for server in servers[:-1]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[-1].serve_forever()
"""

SRUN = """#!/usr/bin/env bash
echo "srun $*" >> "$CALLS"
while [[ ${1:-} == --* ]]; do shift; done
exec "$@"
"""

RAY = """#!/usr/bin/env bash
echo "ray $*" >> "$CALLS"
exec sleep 1000
"""

SLEEP = """#!/usr/bin/env bash
[[ $1 == 2 ]] && exec /bin/sleep 0.1  # between two looks at a server that starts
exec /bin/sleep "$1"
"""

SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' localhost n2 n3 localhost
"""


OF_THE_TRAINER = """#!/usr/bin/env bash
echo "of the trainer: ${0##*/} $*" >> "$CALLS"
exit 9
"""


PYTHON = """#!/usr/bin/env bash
echo "python [$CUDA_VISIBLE_DEVICES] [${RAY_ADDRESS:-}] ${#MRT_REWARD_API_KEY} $*" >> "$CALLS"
for word in "$@"; do
  [[ $word == *http* ]] || continue
  word=${word#*=} word=${word#[} word=${word%]}
  for url in ${word//,/ }; do curl -sf "$url/readyz" || exit 8; done
done
"""
"""Of the trainer: asks each address that it was given, also in a list, whether its prover is ready."""


def commands_of_trainers() -> list[tuple[str, str, bool]]:
    """Of every example in `deploy/`: script, trainer's command, and whether its prover follows the policy."""
    found: dict[tuple[str, str, bool], None] = {}
    for path in (*SCRIPTS, DEPLOY / "README.md", DEPLOY / "scale.md"):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for follows, script, words in re.findall(
            r"(WEIGHTS_ROOT=\S+ )?sbatch (?:--nodes=4 )?deploy/slurm/(\w+\.sbatch) +(python [^`\n]*?) *…", text
        ):
            found[script, " ".join(words.split()), bool(follows)] = None
    return list(found)


class Cluster:
    """A folder of stand-ins that goes first in `PATH`, the prover's in a folder of their own, and their calls."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        prover = folder / "prover" / "bin"
        prover.mkdir(parents=True)
        listener = LISTENER.format(python=sys.executable)
        programs = {prover / "mrt-reward": listener, prover / "vllm": listener}
        programs |= {folder / "srun": SRUN, folder / "ray": RAY, folder / "scontrol": SCONTROL}
        programs[folder / "sleep"] = SLEEP
        programs |= {folder / "mrt-reward": OF_THE_TRAINER, folder / "vllm": OF_THE_TRAINER, folder / "python": PYTHON}
        for program, text in programs.items():
            program.write_text(text)
            program.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "CALLS": str(self.calls_file),
            "PROVER_BIN": str(prover),
            "MODEL": "some/model",
            "PROVER_PORT": str(free_ports(2)),
            "SLURM_JOB_NODELIST": "n[1-4]",
            "SLURM_SUBMIT_DIR": str(ROOT),
        }

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SLURM / script), *words],
            env={**self.environment, **environment}, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def free_port() -> int:
    return free_ports(1)


def free_ports(num: int) -> int:
    """The first of some ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(num)]
            sockets[0].bind(("127.0.0.1", 0))
            first = int(sockets[0].getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                for offset, each in enumerate(sockets[1:], 1):
                    each.bind(("127.0.0.1", first + offset))
                return first


TRAINER = ("bash", "-c", 'echo "$0 $CUDA_VISIBLE_DEVICES ${#MRT_REWARD_API_KEY}"; curl -sf "${0#url=}/readyz"; exit $1')


def test_on_one_node_the_trainer_gets_the_provers_address_a_key_and_the_other_gpus(cluster: Cluster) -> None:
    done = cluster.run("one_node.sbatch", *TRAINER, "url={url}", "0")
    assert done.returncode == 0, done.stderr
    port = cluster.environment["PROVER_PORT"]
    assert done.stdout.split() == [f"url=http://127.0.0.1:{port}", "0,1,2,3,4,5,6", "64"]
    [call] = cluster.calls
    serve = "serve --engine vllm --model some/model --max-model-len 16384"
    assert call == f"mrt-reward [7] {serve} --port {port} --admin-port 0"
    with socket.socket() as again:  # The prover is gone, or its port were taken.
        assert again.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_job_ends_as_its_trainer_does_and_at_once_where_the_prover_ends(cluster: Cluster) -> None:
    assert cluster.run("one_node.sbatch", *TRAINER, "url={url}", "5").returncode == 5
    done = cluster.run("one_node.sbatch", *TRAINER, "url={url}", "0", PROVER_ARGS="--fail")
    assert (done.returncode, "before it could prove" in done.stderr, done.stdout) == (1, True, "")
    for words, environment in (((), {}), (TRAINER, {"MODEL": ""})):
        assert cluster.run("one_node.sbatch", *words, **environment).returncode != 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_bin_folder_of_the_provers_environment_is_asked_for_before_anything_runs(
    cluster: Cluster, script: Path
) -> None:
    done = cluster.run(script.name, *TRAINER, "url={url}", "0", PROVER_BIN="", MRT_REWARD_API_KEY="k")
    assert done.returncode != 0
    assert "PROVER_BIN" in done.stderr
    assert not cluster.calls_file.exists()


def test_on_four_nodes_the_last_proves_and_ray_runs_on_the_others(cluster: Cluster) -> None:
    ports = {"ENGINE_PORT": str(free_port()), "PROVER_GPUS": "1"}
    done = cluster.run("four_nodes.sbatch", *TRAINER, "url={url}", "0", **ports)
    assert done.returncode == 0, done.stderr
    assert f"url=http://localhost:{cluster.environment['PROVER_PORT']}" in done.stdout
    calls = "\n".join(cluster.calls)
    assert re.search(r"srun .*--nodelist=localhost bash .*/slurm/prover_node.sh", calls)
    assert "srun --overlap --nodes=1 --ntasks=1 --nodelist=localhost ray start --head --port=6379" in calls
    assert "srun --overlap --nodes=2 --ntasks=2 --nodelist=n2,n3 ray start --address=localhost:6379" in calls
    [engine] = [call for call in cluster.calls if call.startswith("vllm")]
    assert engine.startswith(
        f"vllm [0] serve some/model --served-model-name prover --host 127.0.0.1 --port {ports['ENGINE_PORT']}"
    )
    [server] = [call for call in cluster.calls if call.startswith("mrt-reward")]
    assert f"--engine openai --engine-url http://127.0.0.1:{ports['ENGINE_PORT']} --model prover" in server
    assert "of the trainer" not in calls


@pytest.mark.parametrize(("script", "command", "follows"), commands_of_trainers())
def test_each_trainers_command_of_the_pages_gets_addresses_that_answer(
    cluster: Cluster, script: str, command: str, follows: bool
) -> None:
    more = {"WEIGHTS_ROOT": "/shared/run"} if follows else {}
    done = cluster.run(
        script, *shlex.split(command), ENGINE_PORT=str(free_port()), PROVER_GPUS="1", CUDA_VISIBLE_DEVICES="", **more
    )
    assert done.returncode == 0, done.stderr
    [call] = [call for call in cluster.calls if call.startswith("python")]
    one = script == "one_node.sbatch"
    host, port = "127.0.0.1" if one else "localhost", int(cluster.environment["PROVER_PORT"])
    around = "[0,1,2,3,4,5,6] []" if one else "[] [localhost:6379]"
    words = " ".join(shlex.split(command)).removeprefix("python ").replace("{url}", f"http://{host}:{port}")
    assert call == f"python {around} 64 {words.replace('{admin_url}', f'http://{host}:{port + 1}')}"


def test_a_prover_that_follows_loads_weights_from_the_shared_folder_on_an_admin_port_of_the_trainers(
    cluster: Cluster,
) -> None:
    words = ("python", "--url", "{url}", "--admin", "{admin_url}")
    done = cluster.run("one_node.sbatch", *words, WEIGHTS_ROOT="/shared/a run")
    assert done.returncode == 0, done.stderr
    port = int(cluster.environment["PROVER_PORT"])
    server, trainer = cluster.calls
    assert f"--port {port} --admin-port {port + 1} --weights-root /shared/a run" in server
    assert trainer.endswith(f"--url http://127.0.0.1:{port} --admin http://127.0.0.1:{port + 1}")


def test_on_four_nodes_a_server_on_each_gpu_follows_and_the_trainer_has_all_their_addresses(cluster: Cluster) -> None:
    port = free_ports(4)
    words = ("python", "url=[{url}]", "admin_url=[{admin_url}]")
    done = cluster.run(
        "four_nodes.sbatch", *words, WEIGHTS_ROOT="/shared/run", PROVER_GPUS="2", PROVER_PORT=str(port),
        CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    servers = sorted(call for call in cluster.calls if call.startswith("mrt-reward"))
    assert len(servers) == 2
    for gpu, server in enumerate(servers):
        assert server.startswith(f"mrt-reward [{gpu}] serve --engine vllm --model some/model ")
        assert (
            f"--port {port + gpu} --admin-host 0.0.0.0 --admin-port {port + 2 + gpu} --weights-root /shared/run"
            in server
        )
    [trainer] = [call for call in cluster.calls if call.startswith("python")]
    at = [f"http://localhost:{port + offset}" for offset in range(4)]
    assert trainer.endswith(f" 64 url=[{at[0]},{at[1]}] admin_url=[{at[2]},{at[3]}]")


def test_length_and_more_flags_reach_whatever_runs_the_model(cluster: Cluster) -> None:
    more = {"MAX_MODEL_LEN": "32768", "PROVER_ARGS": "--dtype bfloat16 --seed 3", "PROVER_GPUS": "1"}
    for script, follows in (("one_node.sbatch", {}), ("four_nodes.sbatch", {"WEIGHTS_ROOT": "/shared/run"})):
        done = cluster.run(script, *TRAINER, "url={url}", "0", **more, **follows)
        assert done.returncode == 0, done.stderr
        server = [call for call in cluster.calls if call.startswith("mrt-reward")][-1]
        assert "--engine vllm --model some/model --max-model-len 32768" in server
        assert server.endswith("--dtype bfloat16 --seed 3")
    done = cluster.run("four_nodes.sbatch", *TRAINER, "url={url}", "0", ENGINE_PORT=str(free_port()), **more)
    assert done.returncode == 0, done.stderr
    [engine] = [call for call in cluster.calls if call.startswith("vllm")]
    assert "--max-model-len 32768" in engine
    assert engine.endswith("--dtype bfloat16 --seed 3")


def test_a_server_that_ends_at_its_start_ends_the_job_that_would_wait_for_it(cluster: Cluster) -> None:
    # The stand-in ends with 3 where one of its words is --fail.
    done = cluster.run(
        "four_nodes.sbatch", *TRAINER, "url={url}", "0",
        MODEL="--fail", WEIGHTS_ROOT="/shared/run", PROVER_GPUS="2", PROVER_PORT=str(free_ports(4)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "the server of GPU 0 ended before it could prove" in done.stderr


@pytest.mark.parametrize("script", ["one_node.sbatch", "four_nodes.sbatch"])
def test_an_admin_port_is_refused_without_the_folder_that_weights_come_from(cluster: Cluster, script: str) -> None:
    done = cluster.run(script, *TRAINER, "url={url}", "0", "{admin_url}")
    assert (done.returncode, "expected WEIGHTS_ROOT" in done.stderr) == (2, True)
    assert not cluster.calls_file.exists()


def test_both_trainers_have_a_command_for_either_script_with_flags_that_they_take() -> None:
    commands = commands_of_trainers()
    for script in ("one_node.sbatch", "four_nodes.sbatch"):
        assert any(each == script and follows for each, _, follows in commands)
        for trainer in ("verl.trainer.main_ppo", "mrt_openrlhf"):
            assert any(each == script and trainer in command for each, command, _ in commands)
    tried = (ROOT / "adapters/mrt_openrlhf/example.sh").read_text(encoding="utf-8")
    for _, command, follows in commands:
        assert follows == ("{admin_url}" in command) == ("follow_steps" in command)
        ours = re.findall(r"--mrt\.(\w+)|reward\.mrt\.(\w+)=", command)
        assert {flag or key for flag, key in ours} <= {field.name for field in dataclasses.fields(TrainingSettings)}
        assert all(f" {flag} " in tried for flag in re.findall(r"--(?!mrt\.)[\w.]+", command))


def test_each_flag_of_the_prover_in_a_script_is_one_that_serve_takes() -> None:
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"mrt-reward\"? serve (.*)", text):
            assert "--weights-root" in line or "--engine openai" in line, script.name
            flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", line)}
            assert flags <= set(ServeSettings.model_fields), script.name
        assert script.name == "four_nodes.sbatch" or 'mrt-reward" serve' in text


def test_batch_scripts_ask_for_their_nodes_and_are_warned_before_the_end() -> None:
    for script, nodes in (("one_node.sbatch", 1), ("four_nodes.sbatch", 4)):
        text = (SLURM / script).read_text(encoding="utf-8")
        assert f"#SBATCH --nodes={nodes}\n" in text
        seconds = re.search(r"--signal=B:TERM@(\d+)", text)
        assert seconds is not None
        assert int(seconds[1]) > ServeSettings.model_fields["drain_timeout_s"].default
