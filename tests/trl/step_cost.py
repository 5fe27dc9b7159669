"""CPU-seconds of TRL's steps paid for progress with `url=policy`, and of its own GRPO, in turn.

    .venv-trl/bin/python -m tests.trl.step_cost FOLDER [--rounds 3]

The first step of the bundled model on one thread: 16 completions of up to 200 tokens, the same ones in each run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from mrt_trl import MRTGRPOTrainer
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from mrt_reward.mini import MODEL_DIR
from tests.trl.policy import on_cpu, problems, right


class Clock(TrainerCallback):
    """CPU-seconds of each step, of all threads of this process; what grades beside it is left out."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.taken.append(time.process_time() - self._began)


def first_step_s(folder: Path, mrt: dict[str, Any] | None) -> tuple[float, float]:
    """CPU-seconds of the first step of a run, and the seconds that it says it waited for values."""
    settings: dict[str, Any] = on_cpu(folder) | {
        "max_steps": 1,
        "per_device_train_batch_size": 16,
        "num_generations": 8,
        "seed": 3,
    }
    clock = Clock()
    given: dict[str, Any] = {
        "model": str(MODEL_DIR), "reward_funcs": right, "train_dataset": problems(), "callbacks": [clock],
        "args": GRPOConfig(**settings, max_completion_length=200),
    }  # fmt: skip
    trainer = GRPOTrainer(**given) if mrt is None else MRTGRPOTrainer(**given, mrt=mrt)
    trainer.train()
    [logged] = [line for line in trainer.state.log_history if "grad_norm" in line]
    return clock.taken[0], float(logged.get("mrt/prover/overhead_s", 0.0))


def main() -> None:
    """Print both, and what one takes more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, dict[str, Any] | None] = {
        "TRL's own": None,
        "likelihood": {"url": "policy"},
        "rollouts, 4 answers": {"url": "policy", "estimator": "rollouts", "num_samples": 4},
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    # The first run of a process takes longer, whichever it is.
    first_step_s(chosen.folder / "warm-up", None)
    for number in range(chosen.rounds):
        for name, mrt in ways.items():
            cpu_s, waited_s = first_step_s(chosen.folder / f"{number}-{name}", mrt)
            taken[name].append(cpu_s)
            print(f"{name}: {cpu_s:.2f} CPU-s, overhead_s {waited_s:.2f}", flush=True)
    for name in list(ways)[1:]:
        more = [with_s / without - 1 for with_s, without in zip(taken[name], taken["TRL's own"], strict=True)]
        print(
            f"{name}: {statistics.median(more):+.0%} of the step's CPU-seconds ({min(more):+.0%} to {max(more):+.0%})"
        )


if __name__ == "__main__":
    main()
