from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mrt_reward.training.responses import gold_answers


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        ("42", ("42",)),
        (42, ("42",)),
        (0.5, ("0.5",)),
        (["42", 42.0], ("42", "42.0")),
        (np.array(["a", "b"]), ("a", "b")),
        (np.int64(7), ("7",)),
        (None, ()),
        (True, ()),
        ({"tests": []}, ()),
        ([None, "1", {}], ("1",)),
    ],
)
def test_gold_answers_are_text_numbers_or_several_of_these(given: Any, answers: tuple[str, ...]) -> None:
    assert gold_answers(given) == answers
