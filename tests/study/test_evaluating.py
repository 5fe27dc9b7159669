from __future__ import annotations

import pytest

from mrt_reward.mini.charts import DEEP, sample_charted_problems
from mrt_reward.mini.writer import walk_paragraphs
from tests.study.evaluating import false_claims

PROBLEM = sample_charted_problems(1, 4, DEEP)[0]
WRONG = next(place for place in PROBLEM.candidates if place != PROBLEM.answer)


@pytest.mark.parametrize(
    ("text", "false"),
    [
        ("\n\n".join(text for place in PROBLEM.candidates for text in walk_paragraphs(PROBLEM, place)), 0),
        (f"So it works from {WRONG}. So it works from {PROBLEM.answer}.", 1),
        (f"That rules out {PROBLEM.answer}, and it works from {WRONG}.", 2),
        ("It works from 99 and rules out nothing.", 0),
    ],
)
def test_verdicts_that_the_map_contradicts_are_counted(text: str, false: int) -> None:
    assert false_claims(text, PROBLEM) == false
