"""What `mrt-reward prefixes` writes is what OpenRLHF's own dataset reads, and what our agent reads of its labels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mrt_openrlhf.labels import prefix_columns
from openrlhf.datasets import PromptDataset
from openrlhf.datasets.utils import blending_datasets
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from mrt_reward.cli.app import app
from mrt_reward.mini import MODEL_DIR
from mrt_reward.training.records import number_of
from tests.evaluation.datasets.made import line, scored, write

A, B, C = "First.\n\na.\n\nb.\n\n", "Wait, good.\n\nc.\n\nd.\n\n", "Wait, bad.\n\ne.\n\nf.\n\n"
OPENED = "<|im_start|>user\n6 times 7?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_rows_of_prefixes_go_from_the_verb_to_the_agent(tmp_path: Path) -> None:
    right = line(scored("right", [A, B, C], [0.25, 0.5, 0.75, 1.0]))
    wrong = line(scored("wrong", [A, C], [0.25, 0.5, 0.125], outcome=0.0))
    file, out = write(tmp_path / "scored.jsonl", right, wrong), tmp_path / "train.jsonl"
    words = ["prefixes", file, "-o", out, "--per-trace", 9, "--min-episodes", 1, "--tokenizer", MODEL_DIR]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    # The flags of a run; without a chat template, as the text is rendered already.
    data: Any = SimpleNamespace(input_key="prompt", label_key="label", apply_chat_template=False)
    strategy: Any = SimpleNamespace(args=SimpleNamespace(data=data), print=print, is_rank_0=lambda: False)
    read = PromptDataset(blending_datasets(str(out), None, strategy), None, strategy)
    batches = list(DataLoader(read, batch_size=2, collate_fn=read.collate_fn))
    written = [json.loads(row) for row in out.read_text().splitlines()]
    assert len(written) == 6
    found: list[tuple[str, Any, Any]] = []
    for _, prompts, labels, images in batches:
        assert images == [None, None]
        (stop, gold), (go_on, _) = (prefix_columns(label) for label in labels)
        # Both halves of a group are in one batch, and start from one prefix.
        assert (stop.group, stop.stop, go_on.group, go_on.stop) == (go_on.group, True, stop.group, False)
        assert prompts[0] == f"{prompts[1]}</think>\n\n"
        found.append((prompts[1], go_on, gold))
    assert found[0][0] == OPENED + A
    assert [(prompt, row.group, row.value, gold) for prompt, row, gold in found] == [
        (row["prompt"], number_of(row["mrt_group"]), row["mrt_value_prefix"], "42") for row in written[1::2]
    ]
    assert [row.value for _, row, _ in found] == [0.5, 0.75, 0.5]
