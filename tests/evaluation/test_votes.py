from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.evaluation.votes import answer_classes, majority_values, weighted_values
from mrt_reward.types import SampledAnswer, Verdict

C, I, U, G = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED  # noqa: E741 - short on purpose


def answers(*pairs: tuple[str, Verdict]) -> list[SampledAnswer]:
    return [SampledAnswer(text, verdict, 3) for text, verdict in pairs]


def test_right_answers_agree_whatever_their_spelling_and_unread_ones_agree_with_none() -> None:
    drawn = answers(("1/2", C), ("7", I), ("0.5", C), ("", U), ("", U), ("7", I), ("8", G))
    assert answer_classes(drawn) == (0, 1, 0, 2, 3, 1)


def test_votes_of_one_prefix_worked_by_hand() -> None:
    # 2 right, 2 say 7. maj@1 = 1/2. Pairs: RR wins (1), 77 loses (1), R7 ties (4): (1 + 4/2) / 6 = 1/2.
    # maj@4 is the one tie: 1/2. There are no five votes.
    drawn = answers(("1", C), ("7", I), ("1", C), ("7", I), ("x", G))
    assert majority_values(drawn, [1, 2, 4, 5]) == pytest.approx([0.5, 0.5, 0.5, np.nan], nan_ok=True, abs=1e-9)
    # 2 right, two unread: of 4 votes the right class has most, 2 against 1 and 1.
    drawn = answers(("1", C), ("", U), ("1", C), ("", U))
    assert majority_values(drawn, [1, 4]) == pytest.approx([0.5, 1.0], abs=1e-9)


def test_weights_decide_votes_worked_by_hand() -> None:
    # One right answer of weight 3 against two that agree, of weight 1 each: it wins with both, and with either.
    drawn = answers(("1", C), ("7", I), ("7", I))
    assert weighted_values(drawn, [3, 1, 1], [1, 2, 3]) == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-9)
    assert weighted_values(drawn, [1, 1, 1], [1, 2, 3]) == pytest.approx(majority_values(drawn, [1, 2, 3]), abs=1e-9)
    assert np.isnan(weighted_values(drawn, [1, 1, 1], [4])).all()
    with pytest.raises(ValueError, match="one weight per answer"):
        weighted_values(drawn, [1.0], [1])
