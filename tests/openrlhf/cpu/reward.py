"""A user's own reward: right or wrong."""

from __future__ import annotations

import re
from typing import Any


def reward_func(queries: list[str], prompts: list[str], labels: list[Any]) -> dict[str, Any]:
    right: list[float] = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        found = re.findall(r"\\boxed\{([^{}]*)\}", query.removeprefix(prompt))
        right.append(float(bool(found) and found[-1].strip() == str(label)))
    return {"rewards": right[0], "scores": right[0], "extra_logs": {"right": right[0]}}
