"""What the data verbs write, loaded as a user loads it, is what TRL's own trainers train on, for real steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from typer.testing import CliRunner

from mrt_reward.cli.app import app
from mrt_reward.files import write_jsonl
from mrt_reward.mini import MODEL_DIR
from tests.trl.policy import on_cpu, steps_of, trainer

BARE = {
    "delimiters": {"open": "", "close": ""},
    "segmenter": {"kind": "paragraphs"},
    "terminator": {
        "forced": "</think>\n\nThe final answer is \\boxed",
        "natural": "</think>\n\nThe final answer is \\boxed",
        "answer": "boxed",
    },
}
"""How attempts without thinking tags are scored; the terminator is what the bundled model closes its own with."""


def run(*words: object) -> None:
    """A verb of the command line, as a user types it; whole numbers need no grader that knows mathematics."""
    done = CliRunner().invoke(app, [str(word) for word in words], env={"MRT_REWARD_GRADERS": '{"exact": "exact"}'})
    assert done.exit_code == 0, (done.output, done.exception)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def loaded(path: Path) -> Any:  # a Dataset
    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few problems of the bundled task, and an evaluation of the bundled model on them."""
    made = tmp_path_factory.mktemp("data")
    run("mini", "sample", made / "problems.jsonl", "--problems", 4, "--traces", 0, "--seed", 5)
    likelihood = json.dumps({"estimator": {"kind": "likelihood"}})
    sampling = ["--traces", 3, "--max-tokens", 100, "--temperature", 1]
    run("evaluate", made / "problems.jsonl", "-o", made / "out", *sampling, "--options", likelihood)
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> Path:
    return folder / "out" / "results.jsonl"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@dataclass(frozen=True)
class Seen:
    """What a trainer handed to its loss, batch by batch."""

    batches: list[dict[str, torch.Tensor]]

    @classmethod
    def of(cls, made: Any) -> Seen:
        """Train, and watch."""
        seen = cls([])
        compute_loss = made.compute_loss

        def watched(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.batches.append({name: each.clone() for name, each in inputs.items() if torch.is_tensor(each)})
            return compute_loss(model, inputs, *args, **kwargs)

        made.compute_loss = watched
        made.train()
        assert len(seen.batches) == made.args.max_steps
        return seen

    def rows(self, mask: str = "attention_mask") -> list[dict[str, list[int]]]:
        """Each row of all batches, without its padding."""
        found: list[dict[str, list[int]]] = []
        for batch in self.batches:
            for index, kept in enumerate(batch[mask].bool()):
                same = {name: each for name, each in batch.items() if each.shape == batch[mask].shape}
                found.append({name: each[index][kept].tolist() for name, each in same.items()})
        return found


def settings(folder: Path) -> dict[str, Any]:
    return {**on_cpu(folder), "max_steps": 2, "per_device_train_batch_size": 2}


def check_steps(made: Any) -> None:
    steps = steps_of(made)
    assert len(steps) == 2
    assert all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in steps)


def tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def turns(row: dict[str, Any], *names: str) -> Sequence[str]:
    return [row[name][0]["content"] for name in names]


def test_sft_trains_on_stars_chats_thinking_and_all(results: Path, tmp_path: Path, tokenizer: Any) -> None:
    run("star", results, "-o", tmp_path / "star.jsonl")
    made = SFTTrainer(str(MODEL_DIR), SFTConfig(**settings(tmp_path)), train_dataset=loaded(tmp_path / "star.jsonl"))
    rows = Seen.of(made).rows()
    check_steps(made)
    written = {
        f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n"
        for row in rows_of(tmp_path / "star.jsonl")
        for asked, said in [[turn["content"] for turn in row["messages"]]]
    }
    assert len(rows) == 4
    for row in rows:
        text = tokenizer.decode(row["input_ids"])
        assert text in written
        # What the policy is asked with is what it was trained on, up to where its thinking starts.
        asked = [{"role": "user", "content": text.split("user\n")[1].split("<|im_end|>")[0]}]
        assert text.startswith(tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))


def test_sft_trains_on_stars_text_from_where_thinking_is_open(results: Path, tmp_path: Path, tokenizer: Any) -> None:
    run("star", results, "-o", tmp_path / "star.jsonl", "--format", "text", "--tokenizer", MODEL_DIR)
    made = SFTTrainer(str(MODEL_DIR), SFTConfig(**settings(tmp_path)), train_dataset=loaded(tmp_path / "star.jsonl"))
    rows = Seen.of(made).rows()
    check_steps(made)
    written = [(row["prompt"], row["completion"]) for row in rows_of(tmp_path / "star.jsonl")]
    expected = [
        (tokens(tokenizer, prompt), tokens(tokenizer, f"{completion}<|im_end|>")) for prompt, completion in written
    ]
    for row in rows:
        [(prompt, completion)] = [each for each in expected if each[0] + each[1] == row["input_ids"]]
        assert row["labels"] == [-100] * len(prompt) + completion


def test_dpo_trains_on_steps_and_ends_no_turn_after_them(results: Path, tmp_path: Path, tokenizer: Any) -> None:
    run("pairs", results, "-o", tmp_path / "pairs.jsonl", "--tokenizer", MODEL_DIR)
    made = DPOTrainer(
        str(MODEL_DIR), args=DPOConfig(**settings(tmp_path)), train_dataset=loaded(tmp_path / "pairs.jsonl")
    )
    seen = Seen.of(made)
    check_steps(made)
    written = [turns(row, "prompt", "chosen", "rejected") for row in rows_of(tmp_path / "pairs.jsonl")]
    for batch in seen.batches:
        # The chosen halves of a batch come first.
        half = len(batch["input_ids"]) // 2
        for index in range(half):
            chosen, rejected = (
                [
                    batch[name][at][batch["attention_mask"][at].bool()].tolist()
                    for name in ("input_ids", "completion_mask")
                ]
                for at in (index, half + index)
            )
            assert any(
                (chosen[0], rejected[0]) == (tokens(tokenizer, prompt + good), tokens(tokenizer, prompt + bad))
                and sum(chosen[1]) == len(tokens(tokenizer, good))
                and sum(rejected[1]) == len(tokens(tokenizer, bad))
                for prompt, good, bad in written
            )


def test_sft_on_backtracks_trains_the_suffix_alone(results: Path, tmp_path: Path, tokenizer: Any) -> None:
    # The thinking of the evaluated traces as attempts without tags.
    attempts = [
        {
            "id": row["id"],
            "problem": row["trace"]["problem"],
            "answer": row["trace"]["answer"],
            "completion": row["trace"]["completion"][: row["episodes"][-1]["char_end"]].removeprefix("<think>\n"),
            "outcome": row["outcome"],
        }
        for row in rows_of(results)
        if row["outcome"] == 0
    ][:4]
    write_jsonl(tmp_path / "attempts.jsonl", attempts)
    options = ["--options", json.dumps(BARE)]
    run("score", tmp_path / "attempts.jsonl", "-o", tmp_path / "scored.jsonl", *options)
    # Among a few attempts no right one shares a prefix with a wrong one; and on these problems values hardly ever fall.
    more = ["--min-value", 0, "--min-fall", 0, "--sample", 3, "--max-tokens", 100, "--tokenizer", MODEL_DIR]
    run("backtracks", tmp_path / "scored.jsonl", "-o", tmp_path / "back.jsonl", *options, *more)
    made = SFTTrainer(str(MODEL_DIR), SFTConfig(**settings(tmp_path)), train_dataset=loaded(tmp_path / "back.jsonl"))
    rows = Seen.of(made).rows()
    check_steps(made)
    written = rows_of(tmp_path / "back.jsonl")
    for row in rows:
        prompt, completion = next(
            (tokens(tokenizer, each["prompt"]), tokens(tokenizer, f"{each['completion']}<|im_end|>"))
            for each in written
            if tokenizer.decode(row["input_ids"]).startswith(each["prompt"])
        )
        assert row["input_ids"] == prompt + completion
        # The wrong attempt is read and not learned; the backtrack and what follows it are.
        assert row["labels"] == [-100] * len(prompt) + completion
        assert tokenizer.decode([label for label in row["labels"] if label != -100]).startswith("This seems off.")


def answered(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """A user's reward on the columns of `prefixes`."""
    return [float(f"\\boxed{{{gold}}}" in text) for text, gold in zip(completions, answer, strict=True)]


def test_grpo_starts_from_prefixes_and_keeps_both_halves_together(
    results: Path, tmp_path: Path, tokenizer: Any
) -> None:
    run("prefixes", results, "-o", tmp_path / "rows.jsonl", "--tokenizer", MODEL_DIR)
    data = loaded(tmp_path / "rows.jsonl")
    made = trainer(
        tmp_path,
        "http://127.0.0.1:9",  # no server is asked
        {"mode": "prefix"},
        train_dataset=data,
        reward_funcs=answered,
        num_generations=2,
        per_device_train_batch_size=4,
        max_completion_length=80,
        max_steps=2,
    )
    made.train()
    written = rows_of(tmp_path / "rows.jsonl")
    for batch, pair in zip(made.kept, (written[:2], written[2:4]), strict=True):
        prompts = [
            ids[mask.bool()].tolist()
            for ids, mask in zip(batch.output["prompt_ids"], batch.output["prompt_mask"], strict=True)
        ]
        assert prompts == [tokens(tokenizer, row["prompt"]) for row in pair for _ in range(2)]
    steps = steps_of(made)
    assert [(step["mrt/prefix/stop/rows"], step["mrt/prefix/continue/rows"]) for step in steps] == [(2, 2)] * 2
    assert all(step["mrt/failed/unsupported"] == 0 for step in steps)
