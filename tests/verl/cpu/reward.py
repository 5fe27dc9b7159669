"""A user's own reward function: right or wrong."""

from __future__ import annotations

import re
from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, **_: Any) -> dict[str, float]:
    found = re.findall(r"\\boxed\{([^{}]*)\}", solution_str)
    right = float(bool(found) and found[-1].strip() == ground_truth)
    return {"score": right, "acc": right}
