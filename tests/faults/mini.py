"""What the bundled model is asked: traces that its own kind of writer wrote, with the true answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking


def island_traces(num_traces: int, seed: int = 0) -> list[dict[str, Any]]:
    """One for each of as many problems."""
    rng = np.random.default_rng(seed)
    return [
        {
            "id": f"{seed}-{index}",
            "problem": problem.text,
            "answer": str(problem.answer),
            "completion": write_thinking(problem, BASE_SLOPPINESS, rng).text
            + f"</think>\n\n\\boxed{{{problem.answer}}}",
        }
        for index, problem in enumerate(sample_problems(num_problems=num_traces, seed=seed))
    ]
