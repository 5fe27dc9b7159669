from __future__ import annotations

import math

import numpy as np
import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.votes import NUM_DRAWN, answer_classes, majority_values, vote_values, weighted_values
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


def test_weights_are_two_to_the_mean_log_probability() -> None:
    drawn = [SampledAnswer("1", C, 2, logprob=0.0), SampledAnswer("7", I, 2, logprob=-1.0)]
    # Of the pair, 1 against 1/2: the right one wins, and would tie without weights.
    assert vote_values(drawn, [1, 2], weighted=True) == pytest.approx([0.5, 1.0], abs=1e-9)
    assert vote_values(drawn, [1, 2], weighted=False) == pytest.approx([0.5, 0.5], abs=1e-9)
    assert vote_values([], [1], weighted=True) == pytest.approx([np.nan], nan_ok=True)
    with pytest.raises(ConfigError, match="1 of a prefix's 2 answers have none"):
        vote_values([drawn[0], SampledAnswer("7", I, 2)], [1], weighted=True)


def test_drawn_weighted_votes_are_within_their_standard_error_of_the_exact_ones() -> None:
    # A vote of 12 of 24: 2,704,156 subsets, of which 20,000 are drawn. With r right answers of weight w among them, the
    # right class has r * w and the only other one (12 - r) * v; r is hypergeometric, so the exact answer is known.
    for num_right, right, wrong in ((12, 1.0, 1.0), (9, 1.0, 0.75), (10, 0.5, 0.65), (6, 1.0, 0.4)):
        drawn = answers(*[("1", C)] * num_right, *[("7", I)] * (24 - num_right))
        weights = [right] * num_right + [wrong] * (24 - num_right)
        exact = 0.0
        for r in range(max(0, num_right - 12), min(12, num_right) + 1):
            share = math.comb(num_right, r) * math.comb(24 - num_right, 12 - r) / math.comb(24, 12)
            ours, theirs = r * right, (12 - r) * wrong
            exact += share * (0.5 if math.isclose(ours, theirs) else float(ours > theirs))
        [value] = weighted_values(drawn, weights, [12])
        stderr = math.sqrt(exact * (1 - exact) / NUM_DRAWN)  # a tie of one half varies less
        assert 0.01 < exact < 0.99
        assert abs(value - exact) <= 4 * stderr
        assert value != exact  # it is drawn, not counted


def test_weighted_votes_of_fresh_answers_agree_with_the_exact_probability() -> None:
    # Answers come anew: right with p = 0.4 and weight 1, else one of two wrong ones with weight 0.6. Of a vote of 3 the
    # right one wins with two or more right; with one right where the two wrong ones differ (1 against 0.6 and 0.6).
    p = 0.4
    exact = p**3 + 3 * p**2 * (1 - p) + 3 * p * 2 * ((1 - p) / 2) ** 2
    rng = np.random.default_rng(5)
    shares: list[float] = []
    for _ in range(1500):
        drawn = [("1", C) if each < p else (("7", I) if each < (1 + p) / 2 else ("8", I)) for each in rng.random(6)]
        weights = [1.0 if verdict is C else 0.6 for _, verdict in drawn]
        shares.append(float(weighted_values(answers(*drawn), weights, [3])[0]))
    stderr = float(np.std(shares, ddof=1)) / math.sqrt(len(shares))
    assert stderr < 0.01
    assert abs(float(np.mean(shares)) - exact) <= 4 * stderr


def test_weights_decide_votes_worked_by_hand() -> None:
    # One right answer of weight 3 against two that agree, of weight 1 each: it wins with both, and with either.
    drawn = answers(("1", C), ("7", I), ("7", I))
    assert weighted_values(drawn, [3, 1, 1], [1, 2, 3]) == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-9)
    assert weighted_values(drawn, [1, 1, 1], [1, 2, 3]) == pytest.approx(majority_values(drawn, [1, 2, 3]), abs=1e-9)
    assert np.isnan(weighted_values(drawn, [1, 1, 1], [4])).all()
    with pytest.raises(ValueError, match="one weight per answer"):
        weighted_values(drawn, [1.0], [1])
