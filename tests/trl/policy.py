"""The bundled model as TRL trains it: its problems, a user's reward, and a trainer that keeps what it trained on.

Generation can be replaced by scripted completions, through TRL's own `rollout_func`; all else is TRL's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from mrt_trl import MRTGRPOTrainer
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from mrt_reward.provers.scripted import ScriptedProver
from tests.server.conftest import threaded_server

TEXT = "One.\n\nTwo.\n\nThree.\n\n</think>\n\nThe final answer is \\boxed{42}"
"""Values 0.25, 0.5, 0.5, 1; thinking is opened by the template."""

VALUES = [0.25, 0.5, 0.5, 1.0]


def value_of(prefix: str, _: int) -> float:
    """J by what a prefix holds, whatever is cached and in whatever order it is asked."""
    return next((value for word, value in (("Three.", 1.0), ("Four.", 0.75), ("One.", 0.5)) if word in prefix), 0.25)


def scripted_server() -> AbstractContextManager[str]:
    """A server whose prover gives these values; its URL."""
    return threaded_server(ScriptedProver(value_of))


@dataclass(frozen=True)
class Generated:
    """One generation batch: what TRL handed on, its own advantages, and ours."""

    output: dict[str, Any]
    theirs_B: torch.Tensor

    @property
    def advantages(self) -> torch.Tensor:
        return self.output["advantages"]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, also of those that are masked."""
        ids = self.output["completion_ids"]
        return [int((row != 0).nonzero().max()) + 1 for row in ids]


class Spy(GRPOTrainer):
    """TRL's own, which keeps its advantages before they are added to."""

    theirs: torch.Tensor

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.theirs = output["advantages"].clone()
        return output


class Recorded(MRTGRPOTrainer, Spy):
    """Keeps every batch that it generated for training or evaluation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.kept: list[Generated] = []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.kept.append(Generated(dict(output), self.theirs))
        return output


def problems(num_rows: int = 32, seed: int = 0) -> Any:  # a Dataset
    rng = np.random.default_rng(seed)
    drawn = [sample_problem(rng) for _ in range(num_rows)]
    rows = [{"prompt": [{"role": "user", "content": each.text}], "solution": str(each.answer)} for each in drawn]
    return Dataset.from_list(rows)


def scripted_problems(num_rows: int = 8, **columns: Any) -> Any:  # a Dataset
    rows = [
        {
            "prompt": [{"role": "user", "content": "6 times 7?"}],
            "solution": "42",
            **{name: values[index % len(values)] for name, values in columns.items()},
        }
        for index in range(num_rows)
    ]
    return Dataset.from_list(rows)


def right(completions: Sequence[Any], solution: Sequence[str], **_: Any) -> list[float | None]:
    """A user's own reward function."""
    texts = [each if isinstance(each, str) else each[0]["content"] for each in completions]
    found = [re.findall(r"\\boxed\{([^{}]*)\}", text) for text in texts]
    return [float(bool(each) and each[-1].strip() == answer) for each, answer in zip(found, solution, strict=True)]


def script(*texts: str) -> Callable[[list[Any], Any], dict[str, Any]]:
    """A `rollout_func` whose completions are these texts, in turn."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)

    def roll_out(prompts: list[Any], _: Any) -> dict[str, Any]:
        asked = [tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"] for prompt in prompts]
        answered = [
            tokenizer.encode(texts[index % len(texts)], add_special_tokens=False) for index in range(len(prompts))
        ]
        logprobs = [[0.0] * len(ids) for ids in answered]
        return {"prompt_ids": asked, "completion_ids": answered, "logprobs": logprobs}

    return roll_out


_NAMED = (
    "model", "reward_funcs", "train_dataset", "rollout_func", "answer_column", "callbacks", "eval_dataset",
    "peft_config",
)  # fmt: skip


def on_cpu(folder: Path) -> dict[str, Any]:
    """What any of TRL's trainers is told here."""
    return {
        "output_dir": str(folder / "out"),
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "learning_rate": 1e-4,
        "logging_steps": 1,
    }


def trainer(folder: Path, url: str, mrt: dict[str, Any] | None = None, **given: Any) -> Recorded:
    """A trainer on the CPU; of `given`, what GRPOConfig knows goes there."""
    named = {name: given.pop(name) for name in _NAMED if name in given}
    settings: dict[str, Any] = {
        **on_cpu(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 64,
        **given,
    }
    named = {"model": str(MODEL_DIR), "reward_funcs": right, "train_dataset": problems(), **named}
    chosen = {"url": url, "segmenter": "paragraphs", **(mrt or {})}
    return Recorded(args=GRPOConfig(**settings), mrt=chosen, **named)


def steps_of(made: Recorded) -> list[dict[str, Any]]:
    """Metrics of each step."""
    return [line for line in made.state.log_history if "grad_norm" in line]
