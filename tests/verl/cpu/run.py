"""A stock training run of the bundled model on the CPU: its data, and the arguments beside the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem

ROOT = Path(__file__).parents[3]
REWARD = ROOT / "tests" / "verl" / "cpu" / "reward.py"


def write_data(folder: Path, num_rows: int, seed: int = 0, *, prefixes: bool = False) -> Path:
    """Problems of the bundled task as veRL reads them; with `prefixes`, pairs of rows of which one must stop."""
    rng = np.random.default_rng(seed)
    problems = [sample_problem(rng) for _ in range(num_rows)]
    answers = {problem.text: str(problem.answer) for problem in problems}
    (folder / "answers.json").write_text(json.dumps(answers))
    rows = [
        {
            "data_source": "island",
            "prompt": [{"role": "user", "content": problem.text}],
            "reward_model": {"style": "rule", "ground_truth": str(problem.answer)},
            "extra_info": {"index": index},
        }
        for index, problem in enumerate(problems)
    ]
    if prefixes:
        for index, row in enumerate(rows):
            row |= {
                "mrt_group": f"g{index // 2}",
                "mrt_value_prefix": 0.25 + 0.5 * (index % 2),
                "mrt_stop": index % 2 == 0,
            }
    path = folder / "train.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def answers_of(folder: Path) -> dict[str, str]:
    """The answer of each problem of `write_data`."""
    return json.loads((folder / "answers.json").read_text())


def arguments(
    data: Path, *, steps: int, prompts: int = 4, samples: int = 4, v1: bool = True, num_gpus: int = 1
) -> list[str]:
    """What a run needs that has nothing to do with MRT; GPUs beyond the first are for a pool."""
    settings = {
        "data.train_files": data,
        "data.val_files": data,
        "data.train_batch_size": prompts,
        "data.max_prompt_length": 128,
        "data.max_response_length": 320,
        "data.shuffle": False,
        "actor_rollout_ref.model.path": MODEL_DIR,
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.optim.lr": 1e-4,
        "actor_rollout_ref.actor.ppo_mini_batch_size": prompts,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": prompts * samples,
        "actor_rollout_ref.actor.use_torch_compile": False,
        "actor_rollout_ref.actor.fsdp_config.use_torch_compile": False,
        "actor_rollout_ref.actor.fsdp_config.model_dtype": "fp32",
        "actor_rollout_ref.actor.fsdp_config.dtype": "float32",
        # bfloat16 is emulated on most CPUs, five times slower.
        "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype": "fp32",
        "actor_rollout_ref.rollout.name": "cpu",
        "actor_rollout_ref.rollout.n": samples,
        "actor_rollout_ref.rollout.n_gpus_per_node": 1,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": prompts * samples,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "actor_rollout_ref.rollout.calculate_log_probs": True,
        "reward.num_workers": 1,
        "reward.custom_reward_function.path": REWARD,
        # Each is a process of its own, which takes seconds to start.
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "trainer.n_gpus_per_node": 1,
        "trainer.nnodes": 1,
        "trainer.logger": "[console,file]",
        "trainer.project_name": "mrt",
        "trainer.val_before_train": False,
        "trainer.test_freq": -1,
        "trainer.save_freq": -1,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": 1000,
        "trainer.resume_mode": "disable",
        "trainer.use_v1": v1,
        "+ray_kwargs.ray_init.num_gpus": num_gpus,
        "ray_kwargs.ray_init.num_cpus": 16,
        "+ray_kwargs.ray_init.include_dashboard": False,
    }
    return [f"{name}={value}" for name, value in settings.items()]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a run: the CPU platform in every process, and its files in `folder`."""
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
        "VERL_USE_EXTERNAL_MODULES": "tests.verl.cpu.platform",
        "VERL_PLATFORM": "cpu",
        "VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "RAY_DEDUP_LOGS": "0",
        # A cluster of its own: without it Ray looks for the one that was started last here, which may have ended.
        "RAY_ADDRESS": "local",
        # A busy machine starts slowly.
        "RAY_raylet_start_wait_time_s": "300",
        # Ray ends workers when the machine's memory runs low, whoever took it.
        "RAY_memory_monitor_refresh_ms": "0",
        "HYDRA_FULL_ERROR": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **more,
    }


def saving(folder: Path, step: int) -> list[str]:
    """Arguments that save the weights of a step, in Hugging Face format too."""
    return [
        f"trainer.default_local_dir={folder}/saved",
        f"trainer.save_freq={step}",
        "actor_rollout_ref.actor.checkpoint.save_contents=[model,hf_model]",
    ]


@dataclass
class Training:
    """A training command that was started; its output goes to a file, so that several can run side by side."""

    process: subprocess.Popen[bytes]
    log: Path

    def finished(self, timeout_s: float = 900) -> Training:
        """This run, once it has ended."""
        self.process.wait(timeout_s)
        return self

    @property
    def output(self) -> str:
        return self.log.read_text()

    def check(self) -> None:
        """See that it ended well."""
        assert self.process.returncode == 0, self.output[-5000:]

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def start(folder: Path, given: Sequence[str], *, module: str = "verl.trainer.main_ppo", **more: str) -> Training:
    """Start a training command."""
    command = [sys.executable, "-m", module, f"hydra.run.dir={folder}/hydra", *given]
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder, **more), stdout=file, stderr=subprocess.STDOUT
        )
    return Training(process, log)


def train(
    folder: Path, given: Sequence[str], *, module: str = "verl.trainer.main_ppo", timeout_s: float = 900, **more: str
) -> Training:
    """Run a training command to its end."""
    return start(folder, given, module=module, **more).finished(timeout_s)
