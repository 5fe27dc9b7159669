"""A user's own reward function: right or wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str | Iterable[str], **_: Any) -> dict[str, float]:
    found = re.findall(r"\\boxed\{([^{}]*)\}", solution_str)
    answers = [ground_truth] if isinstance(ground_truth, str) else list(ground_truth)
    right = float(bool(found) and found[-1].strip() in answers)
    return {"score": right, "acc": right}
