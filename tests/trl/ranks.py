"""One of several processes that train together: `python -m tests.trl.ranks FOLDER URL MODE`, in torch's variables.

A group of four lies across two processes. Writes what this process trained on, and what it logged.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mrt_reward.errors import ProverError
from tests.trl.policy import TEXT, Recorded, script, scripted_problems, steps_of, trainer

TEXTS = [
    TEXT,
    "Four.\n\nFive.\n\n</think>\n\nThe final answer is \\boxed{41}",
    "</think>\n\nThe final answer is \\boxed{41}",
    "One.\n\nFour.\n\nFive.\n\n</think>\n\n\\boxed{42}",
]
"""Completions of a group, by place: each of two processes has two of them."""

MRT: dict[str, Any] = {"credit": "to_go", "baseline": "group_index", "alpha": 0.5}


def train(folder: Path, url: str, texts: list[str], per_process: int, data: Any = None) -> Recorded:
    """One step."""
    made = trainer(
        folder,
        url,
        MRT,
        rollout_func=script(*texts),
        train_dataset=scripted_problems() if data is None else data,
        per_device_train_batch_size=per_process,
        shuffle_dataset=False,
    )
    made.train()
    return made


def main() -> None:
    folder, url, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rank = int(os.environ["RANK"])
    data = scripted_problems(8, solution=["42", "42"] if mode == "train" else [""])
    try:
        made = train(folder, url, TEXTS[2 * rank : 2 * rank + 2], 2, data)
    except ProverError as error:
        (folder / f"{rank}.json").write_text(json.dumps({"error": str(error)}))
        raise SystemExit(3) from error
    [batch] = made.kept
    reported = {
        "advantages": [row[:n].tolist() for row, n in zip(batch.advantages, batch.lengths, strict=True)],
        "metrics": steps_of(made)[0] if rank == 0 else {},
        "world": made.accelerator.num_processes,
    }
    (folder / f"{rank}.json").write_text(json.dumps(reported))


if __name__ == "__main__":
    main()
