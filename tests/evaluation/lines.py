"""Lines of results for tests, written as the verbs write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrt_reward.core.progress import with_progress
from mrt_reward.types import Episode, ScoredTrace, Status, Value
from mrt_reward.wire import scored_fields


def line(
    trace_id: str,
    values: Sequence[float | None],
    *,
    tokens: Sequence[int] | None = None,
    model: str | None = None,
    problem: str = "p",
    **more: Any,
) -> dict[str, Any]:
    """A scored trace whose episodes are "abcd" each, four tokens long."""
    episodes = [Episode(4 * j, 4 * j + 4, 4 * j, 4 * j + 4) for j in range(len(values) - 1)]
    measured = [Value(value, 0.0, value, value, answer_tokens=2.0) for value in values]
    scored = ScoredTrace(
        trace_id,
        Status.PARTIAL if None in values else Status.OK,
        outcome=more.pop("outcome", None),
        values=tuple(measured),
        episodes=with_progress(episodes, measured),
        prefix_tokens=tuple(tokens or [10 + 4 * j for j in range(len(values))]),
    )
    record = scored_fields(scored)
    record["trace"] = {"problem": f"Q {problem}?", "completion": "abcd" * len(episodes), "group": problem}
    if model is not None:
        record["evaluation"] = {"model": model, "problem": problem, **more.pop("evaluation", {})}
    return record | more


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path
