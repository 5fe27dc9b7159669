"""Prices, baselines and cut-off traces as `credit` pays them; each number is worked by hand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import Credit, credit, token_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.regret import normalised_regret
from mrt_reward.types import Episode, ScoredTrace, Span, Status, Value

PLAIN = CreditConfig(scale_by_std=False)


def extent(*ends: float, cut_off: bool = False) -> Extent:
    return Extent(np.array(ends), cut_off)


def paid(rows: Sequence[tuple[float | None, list[float] | None, Extent | None]], config: CreditConfig) -> list[Credit]:
    outcomes, values, extents = zip(*rows, strict=True)
    return list(credit(outcomes, [None if each is None else np.array(each) for each in values], config, extents))


def extra(of: Credit) -> list[float]:
    """What progress adds to each episode."""
    assert of.outcome_advantage is not None
    return (of.episode_advantage_K - of.outcome_advantage).tolist()


def closing(of: Credit) -> float:
    return of.closing_advantage - of.answer_advantage


TWO = [
    # Episodes of 10 and 30 tokens that gain 0.1 and 0.4; one of 20 tokens that gains 0.2.
    (1.0, [0.0, 0.1, 0.5], extent(0, 10, 40)),
    (1.0, [0.0, 0.2], extent(5, 25)),
]


def test_each_episode_pays_for_its_tokens() -> None:
    first, second = paid(TWO, replace(PLAIN, baseline="rate"))
    # The second makes 0.2 of 20 tokens: 0.01 a token. The first makes 0.5 of 40: 0.0125.
    assert extra(first) == pytest.approx([0.1 - 0.1, 0.4 - 0.3])
    assert extra(second) == pytest.approx([0.2 - 0.25])
    assert (closing(first), closing(second)) == (0.0, 0.0)


def test_a_long_episode_may_weigh_no_more_than_a_short_one() -> None:
    # Episodes of 10, 30 and 20 tokens, 20 on average; what all tokens of an episode get in sum is 20 times its bonus.
    first, second = paid(TWO, replace(PLAIN, length_norm="episode"))
    assert extra(first) == pytest.approx([0.1 * 20 / 10, 0.4 * 20 / 30])
    assert extra(second) == pytest.approx([0.2])
    first, second = paid(TWO, replace(PLAIN, length_norm="episode", baseline="rate", alpha=2.0))
    assert extra(first) == pytest.approx([0.0, 2.0 * 0.1 * 20 / 30])
    assert extra(second) == pytest.approx([2.0 * -0.05])
    unscored = (0.0, None, None)
    first, _, other = paid([*TWO, unscored], replace(PLAIN, length_norm="episode"))
    assert extra(first) == pytest.approx([0.1 * 20 / 10, 0.4 * 20 / 30])
    assert extra(other) == []
    with pytest.raises(ValueError, match="length_norm episode needs the tokens"):
        paid([(1.0, [0.0, 0.1], None)], replace(PLAIN, length_norm="episode"))


def test_closing_may_be_charged_like_an_episode_of_the_others() -> None:
    first, second = paid(TWO, replace(PLAIN, baseline="rate", charge_closing=True))
    # 0.01 a token for the second's 20 tokens an episode; 0.0125 for the first's 20 on average.
    assert (closing(first), closing(second)) == pytest.approx((-0.2, -0.25))
    first, second = paid(TWO, replace(PLAIN, baseline="group", charge_closing=True, alpha=2.0))
    # Means of the traces: 0.25 and 0.2, so an episode costs 0.225.
    assert extra(first) == pytest.approx([2 * (0.1 - 0.225), 2 * (0.4 - 0.225)])
    assert (closing(first), closing(second)) == pytest.approx((-0.45, -0.45))


def test_a_group_that_goes_back_pays_nothing_for_going_on() -> None:
    first, _ = paid(
        [(1.0, [0.5, 0.1], extent(0, 10)), (0.0, [0.5, 0.4], extent(0, 10))], replace(PLAIN, baseline="group")
    )
    # The mean is -0.25; a price below nothing would pay for another episode.
    assert extra(first) == pytest.approx([-0.4])


def test_progress_that_comes_in_time_is_paid_and_closing_is_compared_with_going_on() -> None:
    config = replace(PLAIN, credit="anytime", anytime_budget=100)
    first, second = paid(TWO, config)
    # S(10) = 0.9, S(40) = 0.6: 0.09 + 0.24, then 0.24. S(25) = 0.75: 0.15.
    assert extra(first) == pytest.approx([0.33, 0.24])
    assert extra(second) == pytest.approx([0.15])
    first, second = paid(TWO, replace(config, baseline="leave_one_out"))
    # At decision 0 each has the other. At decision 1 the first goes on, against the second's closing, which is 0.
    assert extra(first) == pytest.approx([0.33 - 0.15, 0.24 - 0.0])
    assert extra(second) == pytest.approx([0.15 - 0.33])
    # The second closes at decision 1 where the first earned 0.24; nobody else comes to the first's third.
    assert (closing(first), closing(second)) == pytest.approx((0.0, -0.24))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # Budgets 25, 50, 75 and 100: all lie above 10, three of them above 40.
        ("quarters", [0.1 + 0.4 * 0.75, 0.4 * 0.75]),
        # 1 - (0 + 10)/200 and 1 - (10 + 40)/200.
        ("trapezoid", [0.1 * 0.95 + 0.4 * 0.75, 0.4 * 0.75]),
    ],
)
def test_budgets_may_lie_otherwise(weights: Any, expected: list[float]) -> None:
    config = CreditConfig(scale_by_std=False, credit="anytime", anytime_budget=100, anytime_weights=weights)
    assert extra(paid(TWO, config)[0]) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=6),
    st.floats(0, 1),
    st.integers(1, 400),
)
def test_what_an_episode_and_all_that_follow_are_paid_is_what_they_take_off_the_regret(
    episodes: list[tuple[int, float]], first: float, beyond: int
) -> None:
    lengths, values = zip(*episodes, strict=True)
    token_P, value_P = np.cumsum([7.0, *lengths]), np.array([first, *values])
    budget = 7 + beyond
    config = CreditConfig(credit="anytime", anytime_budget=budget, anytime_weights="trapezoid", singleton="zero")
    [one] = credit([1.0], [value_P], config, [Extent(token_P, cut_off=False)])
    regret = 1 - first * (1 - token_P[0] / (2 * budget)) - extra(one)[0]
    assert regret == pytest.approx(normalised_regret(token_P, value_P, budget), abs=1e-12)


CUT = [
    (1.0, [0.25, 1.0], extent(0, 10)),
    (0.0, [0.25, 0.75], extent(0, 10, cut_off=True)),
    (0.0, [0.25, 0.25], extent(0, 10)),
]


def test_a_cut_off_trace_is_paid_its_outcome_nothing_or_its_last_value() -> None:
    # Rewards 1, 0, 0: mean 1/3.
    zero = paid(CUT, PLAIN)
    assert [each.outcome_advantage for each in zero] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    # Without the second: 1 and 0.
    masked = paid(CUT, replace(PLAIN, truncated="masked"))
    assert [each.outcome_advantage for each in masked] == [0.5, None, -0.5]
    assert token_advantages(masked[1], [Span(0, 10)], 10, 10).tolist() == [0.0] * 10
    # 1, 0.75 and 0: mean 7/12. A finished trace keeps its outcome, right or wrong.
    forced = paid(CUT, replace(PLAIN, truncated="forced"))
    assert [each.outcome_advantage for each in forced] == pytest.approx([5 / 12, 2 / 12, -7 / 12])


def test_a_masked_trace_is_in_no_baseline() -> None:
    rows = [(1.0, [0.0, 0.4], extent(0, 10)), (0.0, [0.0, 0.9], extent(0, 10, cut_off=True))]
    first, _ = paid(rows, replace(PLAIN, baseline="group", truncated="masked"))
    assert extra(first) == pytest.approx([0.0])
    alone, _ = paid(rows, replace(PLAIN, baseline="rate", truncated="masked"))
    assert extra(alone) == pytest.approx([0.4])


def test_what_a_trainer_takes_off_for_length_stays_where_the_value_is_added() -> None:
    rows = [(0.9, [0.0, 1.0], extent(0, 10)), (-0.2, [0.0, 0.5], extent(0, 20, cut_off=True))]
    first, second = paid(rows, replace(PLAIN, truncated="forced"))
    # 0.9 and 0.3.
    assert (first.outcome_advantage, second.outcome_advantage) == pytest.approx((0.3, -0.3))


def test_a_cut_off_trace_whose_last_value_is_missing_has_no_reward() -> None:
    rows = [*CUT[:1], (0.0, [0.25, np.nan], extent(0, 10, cut_off=True)), (0.0, None, None)]
    forced = paid(rows, replace(PLAIN, truncated="forced"))
    # Failure never becomes a number. One that was not scored at all may have finished, and keeps its outcome.
    assert [each.outcome_advantage for each in forced] == [0.5, None, -0.5]


CONFIGS = st.builds(
    CreditConfig,
    credit=st.sampled_from(["immediate", "to_go", "anytime"]),
    anytime_budget=st.integers(1, 200),
    anytime_weights=st.sampled_from(["uniform", "quarters", "trapezoid"]),
    baseline=st.sampled_from(["none", "group", "group_index", "rate", "leave_one_out"]),
    truncated=st.sampled_from(["zero", "masked", "forced"]),
    answer_progress=st.sampled_from(["none", "add"]),
    progress_norm=st.sampled_from(["none", "group_std"]),
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, None]),
        st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=5),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS, CONFIGS)
def test_alpha_zero_is_the_outcome_advantage_exactly_on_every_token(
    rows: list[tuple[float | None, list[float], bool]], config: CreditConfig
) -> None:
    group = [(r, values, extent(*(9.0 * j for j in range(len(values))), cut_off=cut)) for r, values, cut in rows]
    for each in paid(group, replace(config, alpha=0.0)):
        expected = 0.0 if each.outcome_advantage is None else each.outcome_advantage
        assert each.episode_advantage_K.tolist() == [expected] * each.episode_advantage_K.size
        assert (each.answer_advantage, each.closing_advantage) == (expected, expected)


@given(ROWS, CONFIGS)
def test_nothing_that_is_paid_is_missing(
    rows: list[tuple[float | None, list[float], bool]], config: CreditConfig
) -> None:
    group = [(r, values, extent(*(9.0 * j for j in range(len(values))), cut_off=cut)) for r, values, cut in rows]
    for each, (_, values, _) in zip(paid(group, config), group, strict=True):
        assert each.episode_advantage_K.size == len(values) - 1
        assert np.isfinite(each.episode_advantage_K).all()
        assert np.isfinite([each.answer_advantage, each.closing_advantage]).all()


def test_closing_is_the_answers_first_token() -> None:
    [first, _] = paid(TWO, replace(PLAIN, baseline="group", charge_closing=True))
    as_list = token_advantages(first, [Span(0, 2), Span(2, 3)], 3, 6)
    assert as_list[3] == first.closing_advantage
    assert as_list[4:].tolist() == [first.answer_advantage] * 2
    # Cut off: there is no such token.
    assert token_advantages(first, [Span(0, 2), Span(2, 3)], 3, 3)[-1] == first.episode_advantage_K[1]


def as_list(found: Extent) -> list[float] | None:
    return None if found.token_P is None else found.token_P.tolist()


def test_a_scored_trace_says_where_its_prefixes_end_if_it_says_whether_it_was_cut_off() -> None:
    values = tuple(Value(value=each) for each in (0.1, 0.2, 0.3))
    episodes = (Episode(0, 5, 3, 7), Episode(5, 9, 7, 12))
    scored = ScoredTrace("a", Status.OK, values=values, episodes=episodes, truncated=True)
    found = Extent.of(scored)
    assert (as_list(found), found.cut_off, found.length_K.tolist()) == ([3.0, 7.0, 12.0], True, [4.0, 5.0])
    assert Extent.of(replace(scored, truncated=None)).cut_off is None
    assert as_list(Extent.of(replace(scored, values=values[:1], episodes=()))) == [0.0]
    # Spans in characters alone, or none, do not say it.
    in_characters = tuple(replace(each, token_start=0, token_end=0) for each in episodes)
    assert as_list(Extent.of(replace(scored, episodes=in_characters))) is None
    assert as_list(Extent.of(replace(scored, episodes=()))) is None
    # Nor do spans that nobody measured.
    for start, end in ((8, 5), (7, 10**400), (-3, 12)):
        odd = (Episode(0, 5, min(start, 3), start), Episode(5, 9, start, end))
        assert as_list(Extent.of(replace(scored, episodes=odd))) is None


def test_what_is_not_known_is_asked_for() -> None:
    one = ([1.0], [np.array([0.0, 1.0])])
    for known in (None, [extent(0.0)], [Extent(None, cut_off=False)]):
        with pytest.raises(ValueError, match="baseline rate and length_norm none needs the tokens of every episode"):
            credit(*one, replace(PLAIN, baseline="rate"), known)
    for known in (None, [Extent(np.array([0.0, 9.0]), None)]):
        with pytest.raises(ValueError, match=r"truncated forced .* whether it was cut off"):
            credit(*one, replace(PLAIN, truncated="forced"), known)
    with pytest.raises(ValueError, match="one extent for each trace"):
        credit([1.0], [np.array([0.0, 1.0])], PLAIN, [])
    with pytest.raises(ValueError, match="must not fall"):
        extent(3.0, 1.0)
    with pytest.raises(ValueError, match="needs anytime_budget"):
        CreditConfig(credit="anytime")
    with pytest.raises(ValueError, match="charge_closing needs baseline group or rate"):
        CreditConfig(charge_closing=True)
    with pytest.raises(ValueError, match="pay_ending needs credit immediate"):
        CreditConfig(credit="to_go", pay_ending=True)
