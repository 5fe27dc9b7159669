"""A training run of the bundled model on the CPU: its data, and the flags beside the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from tests.verl.cpu.run import Training

ROOT = Path(__file__).parents[3]
REWARD = ROOT / "tests" / "openrlhf" / "cpu" / "reward.py"
MAX_NEW_TOKENS = 220


def write_data(folder: Path, num_rows: int, seed: int = 0) -> Path:
    """Problems of the bundled task as OpenRLHF reads them."""
    rng = np.random.default_rng(seed)
    problems = [sample_problem(rng) for _ in range(num_rows)]
    (folder / "answers.json").write_text(json.dumps({problem.text: str(problem.answer) for problem in problems}))
    path = folder / "train.jsonl"
    rows = [{"prompt": problem.text, "answer": str(problem.answer)} for problem in problems]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers_of(folder: Path) -> dict[str, str]:
    """The answer of each problem of `write_data`."""
    return json.loads((folder / "answers.json").read_text())


def arguments(data: Path, folder: Path, *, prompts: int = 4, samples: int = 4, reward: Path = REWARD) -> list[str]:
    """What a run needs that has nothing to do with MRT."""
    settings = {
        "data.prompt_dataset": data,
        "data.input_key": "prompt",
        "data.label_key": "answer",
        "data.max_len": 320,
        "rollout.max_new_tokens": MAX_NEW_TOKENS,
        "rollout.batch_size": prompts,
        "rollout.n_samples_per_prompt": samples,
        "rollout.micro_batch_size": prompts * samples // 2,
        "train.batch_size": prompts * samples,
        "train.micro_batch_size": prompts * samples,
        "train.num_episodes": 1,
        "actor.model_name_or_path": MODEL_DIR,
        "actor.num_gpus_per_node": 1,
        "actor.adam.lr": 1e-3,
        "actor.lr_scheduler": "constant",
        "vllm.num_engines": 1,
        "vllm.sync_backend": "gloo",
        "vllm.gpu_memory_utilization": 0.1,
        "ds.attn_implementation": "eager",
        "algo.advantage.estimator": "group_norm",
        "algo.kl.init_coef": 0,
        "ckpt.output_dir": folder / "saved",
        "ckpt.path": folder / "ckpt",
        "reward.remote_url": reward,
    }
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [*flags, "--data.apply_chat_template", "--vllm.enforce_eager"]


def environment(**more: str) -> dict[str, str]:
    """Of a run: the CPU's shims in every process, and few threads."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS")}
    site = ROOT / "tests" / "openrlhf" / "cpu" / "site"
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT), str(ROOT / "adapters")]),
        "MRT_TEST_CPU": "1",
        "DS_ACCELERATOR": "cpu",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_DEDUP_LOGS": "0",
        # A busy machine starts slowly, and has memory that others use.
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }


def start(folder: Path, given: Sequence[str], **more: str) -> Training:
    """Start a training run with a Ray of its own."""
    log = folder / "log.txt"
    with log.open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "mrt_openrlhf", *given],
            cwd=folder,
            env=environment(RAY_ADDRESS="local", **more),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    return Training(process, log)


def train(folder: Path, given: Sequence[str], *, timeout_s: float = 900, **more: str) -> tuple[int, str]:
    """Run a training command to its end; its exit status, and what it printed."""
    run = start(folder, given, **more)
    try:
        run.finished(timeout_s)
    finally:
        run.stop()
    return run.process.returncode, run.output
