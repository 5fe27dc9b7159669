"""Qwen3-1.7B, which thinks, on DeepMath with MRT, on one node with 8 GPUs: seven train, one proves.

    CUDA_VISIBLE_DEVICES=7 mrt-reward serve --engine vllm --model Qwen/Qwen3-1.7B --port 8901
    CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6 accelerate launch --num_processes 7 example.py

Or on all eight without a server: the policy proves itself.

    accelerate launch --num_processes 8 example.py --url policy --use_vllm False

`MRT` below has the settings that README begins with; `--mrt '{"alpha": 1}'` changes or adds some.
The server runs in an environment of its own, with the extra vllm; here are the extra trl, and trl[vllm,math-verify].
Everything of `GRPOConfig` is a flag, such as `--max_steps 100`; `--help` tells all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

from datasets import load_dataset
from trl import GRPOConfig, TrlParser
from trl.rewards import accuracy_reward

from mrt_reward.errors import MRTRewardError
from mrt_reward.training.settings import load_training_settings
from mrt_trl import MRTGRPOTrainer

SYSTEM = "Give the final answer within \\boxed{}."
MRT = {"alpha": 16.0, "baseline": "rate", "pay_ending": True}


def option(default: str, description: str) -> str:
    """A flag's default, and what `--help` says of it."""
    return field(default=default, metadata={"help": description})


@dataclass
class ExampleArguments:
    """What is trained, on what, and who proves."""

    model: str = option("Qwen/Qwen3-1.7B", "Policy: name on the hub, or a folder.")
    dataset: str = option(
        "trl-lib/DeepMath-103K",
        "Name on the hub, or a folder with train.jsonl; columns `prompt`, a chat, and `solution`.",
    )
    url: str = option(
        "http://127.0.0.1:8901", "URL of the progress server; policy: the policy proves, without a server."
    )
    mrt: str = option("{}", f"JSON object of more settings of MRT, which go before {json.dumps(MRT)}.")


def chat(row: dict[str, Any]) -> dict[str, Any]:
    """The dataset's prompt, with how to answer in front of it."""
    return {"prompt": [{"role": "system", "content": SYSTEM}, *row["prompt"]]}


def train() -> None:
    """Train, and save the policy."""
    parser = TrlParser((ExampleArguments, GRPOConfig))  # type: ignore[arg-type] - it takes several
    parser.set_defaults(
        output_dir="qwen3-1.7b-mrt",
        learning_rate=1e-6,
        warmup_steps=10,
        max_steps=500,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=4,
        num_generations=8,
        max_completion_length=8192,
        mask_truncated_completions=True,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.3,
        logging_steps=1,
        save_steps=50,
    )
    example, args = cast("tuple[ExampleArguments, GRPOConfig]", parser.parse_args_and_config())
    try:
        mrt = {"url": example.url, **MRT, **json.loads(example.mrt)}
    except (ValueError, TypeError) as error:
        raise SystemExit(f"--mrt: expected a JSON object such as '{json.dumps(MRT)}', got {example.mrt}") from error
    load_training_settings(mrt, where="mrt")  # a misspelt one is reported before the dataset is read
    trainer = MRTGRPOTrainer(
        model=example.model,
        reward_funcs=accuracy_reward,
        args=args,
        train_dataset=load_dataset(example.dataset, split="train").map(chat),
        mrt=mrt,
        answer_column="solution",
    )
    trainer.train()
    trainer.save_model()


def main() -> None:
    """The command: what MRT refuses says what to change, and where in the trainer it was found helps nobody."""
    try:
        train()
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
