from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from mrt_reward.errors import TraceError
from mrt_reward.golds import MAX_GOLD_CHARS
from mrt_reward.options import TERMINATORS, Delimiters, Likelihood, Rollouts, ScoreOptions
from mrt_reward.protocols import GradeItem, LikelihoodQuery, ProbeAnswer, RolloutQuery, TokenizedText
from mrt_reward.provers.scripted import ScriptedTokenizer
from mrt_reward.service.estimators import outcome_of, plan_estimator, plan_likelihood, plan_rollouts
from mrt_reward.types import Grade, SampledAnswer, Trace, Verdict
from tests.service.conftest import WordGrader, speller

BOXED, FREE = TERMINATORS["boxed"], TERMINATORS["official"]


class BraceTokenizer(ScriptedTokenizer):
    """Tokens 300 `}}`, 301 `}.`, 302 `7}`; everything else is bytes."""

    texts: ClassVar = {300: "}}", 301: "}.", 302: "7}"}

    @property
    def close_ids(self) -> tuple[int, ...]:
        return (ord("}"), 300, 301)

    def encode_untrusted(self, text: str) -> TokenizedText:
        for token in (300, 302):
            piece = self.texts[token]
            if text.endswith(piece):
                head = super().encode_untrusted(text.removesuffix(piece)).ids
                return TokenizedText(np.append(head, token).astype(np.int32), np.zeros(len(head) + 1, np.int32))
        return super().encode_untrusted(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.texts.get(token) or super(BraceTokenizer, self).decode([token]) for token in ids)


def test_a_trace_is_planned_by_the_estimator_that_its_options_name() -> None:
    trace = Trace("t", problem="Twice 21?", completion="", answer=("42",))
    for options, query in (
        (ScoreOptions(), LikelihoodQuery),
        (ScoreOptions(estimator=Rollouts("rollouts")), RolloutQuery),
    ):
        assert isinstance(plan_estimator(trace, options, ScriptedTokenizer(), WordGrader(), speller).query, query)


async def test_what_is_graded_of_a_trace_is_its_problem_and_where_its_answer_stands() -> None:
    trace = Trace("t", prompt="Twice 21?[think]", completion="", answer=("42",))
    for terminator, boxed in ((BOXED, True), (FREE, False)):
        options = ScoreOptions(
            estimator=Rollouts("rollouts"), terminator=terminator, delimiters=Delimiters("[think]", "[/think]")
        )
        grader = WordGrader()
        plan = plan_estimator(trace, options, ScriptedTokenizer(), grader, speller)
        await plan.values([ProbeAnswer(completions=(tuple(b"{42}"),))])
        assert grader.seen == [GradeItem("{42}", ("42",), "Twice 21?", boxed_prefix=boxed)]


def test_the_close_counts_every_token_that_begins_with_it() -> None:
    plan = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), ["42"], speller)
    [spelling] = plan.query.spellings
    assert spelling.ids == tuple(b"{42")
    assert spelling.close == (ord("}"), 300, 301)


def test_a_close_that_holds_the_answers_own_brace_counts_only_its_like() -> None:
    # `{\frac{1}{2}}` ends in one token `}}`: a single `}` would leave the box open.
    plan = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), ["\\frac{1}{2}"], speller)
    assert plan.query.spellings[0].close == (300,)


def test_a_close_that_merged_with_the_answer_counts_one_token() -> None:
    plan = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), ["17"], speller)
    assert plan.query.spellings[0].ids == tuple(b"{1")
    assert plan.query.spellings[0].close == (302,)


def test_spellings_are_distinct_and_at_most_eight() -> None:
    def many(answer: str) -> tuple[str, ...]:
        return (answer, *(f"{answer}.{index}" for index in range(10)))

    plan = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), ["1", "1", "2"], many)
    assert len(plan.spellings) == len(set(plan.spellings)) == 8


def test_several_golds_share_the_room() -> None:
    ways = {"1": ("1", "1a", "1b"), "2": ("2",), "3": ("3", "3a")}
    plan = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), ["1", "2", "3"], lambda answer: ways[answer])
    assert plan.spellings == ("1", "2", "3", "1a", "3a", "1b")


def test_a_gold_that_no_model_is_likely_to_write_is_reported() -> None:
    prose = "We add them up and find that there are forty-two"
    odd = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), [prose], lambda answer: (answer, answer + "!"))
    assert len(odd.warnings) == 1
    assert f"{prose!r}, 48 in all" in odd.warnings[0]
    short = plan_likelihood(Likelihood(), BOXED, BraceTokenizer(), [prose], lambda answer: (answer, "42"))
    assert short.warnings == ()


@pytest.mark.parametrize(
    ("spellings", "kept"), [(("x" * 255,), 1), (("x" * 256, "42"), 1), (("4" * 255, "x" * 9999, "42"), 2)]
)
def test_a_spelling_too_long_to_be_forced_is_left_out_beside_shorter_ones(
    spellings: tuple[str, ...], kept: int
) -> None:
    # A token for each character, and one for the opening brace.
    plan = plan_likelihood(Likelihood(), BOXED, ScriptedTokenizer(), ["gold"], lambda _: spellings)
    assert plan.spellings == tuple(spelling for spelling in spellings if len(spelling) < 256)
    assert len(plan.query.spellings) == kept


def test_a_gold_that_is_too_long_to_be_forced_is_refused_with_its_length() -> None:
    with pytest.raises(TraceError, match=r"at most 256 tokens, .* has 10001: send the final answer alone") as refused:
        plan_likelihood(Likelihood(), BOXED, ScriptedTokenizer(), ["x" * MAX_GOLD_CHARS], speller)
    assert (refused.value.code, refused.value.param) == ("answer_too_long", "answer")
    listed = Likelihood(spellings=("x" * 300,))
    with pytest.raises(TraceError) as refused:
        plan_likelihood(listed, BOXED, ScriptedTokenizer(), [], speller)
    assert refused.value.param == "options.estimator.spellings"


def test_a_caller_may_list_the_spellings() -> None:
    plan = plan_likelihood(Likelihood(spellings=("a", "b")), BOXED, BraceTokenizer(), [], speller)
    assert plan.spellings == ("a", "b")


async def test_the_same_answer_is_judged_once() -> None:
    grader = WordGrader()
    item = GradeItem("", ("42",), "6 times 7?", boxed_prefix=True)
    plan = plan_rollouts(Rollouts(kind="rollouts", num_samples=3), BOXED, ScriptedTokenizer(), grader, item)
    right, wrong = tuple(b"{42}"), tuple(b"{0}")
    values = await plan.values([ProbeAnswer(completions=(right, wrong, right))] * 2)
    assert [value.correct for value in values] == [2, 2]
    assert [seen.completion for seen in grader.seen] == ["{42}", "{0}"]
    assert all(seen.boxed_prefix and seen.problem == "6 times 7?" for seen in grader.seen)


def test_answers_are_short_after_a_box_and_longer_when_free() -> None:
    item = GradeItem("", ("42",))
    boxed = plan_rollouts(Rollouts(kind="rollouts"), BOXED, ScriptedTokenizer(), WordGrader(), item)
    free = plan_rollouts(Rollouts(kind="rollouts"), FREE, ScriptedTokenizer(), WordGrader(), item)
    assert (boxed.query.max_tokens, boxed.query.stop_at_close) == (64, True)
    assert (free.query.max_tokens, free.query.stop_at_close) == (1024, False)


def test_what_can_change_a_value_is_in_the_identity() -> None:
    def identity(answer: str = "42", grader: str = "a", **changes: object) -> str:
        judge = WordGrader()
        judge.identity = grader
        options = Rollouts(kind="rollouts", **changes)  # type: ignore[arg-type]
        return plan_rollouts(options, BOXED, ScriptedTokenizer(), judge, GradeItem("", (answer,))).identity

    variants = [identity(), identity(answer="41"), identity(grader="b"), identity(seed=1), identity(num_samples=4)]
    variants += [identity(best_of=2), identity(temperature=1.0), identity(top_p=0.5), identity(max_tokens=9)]
    variants += [
        plan_likelihood(Likelihood(), BOXED, ScriptedTokenizer(), [gold], speller).identity for gold in ("42", "41")
    ]
    assert len(set(variants)) == len(variants)


def test_an_outcome_that_could_not_be_judged_is_no_number() -> None:
    assert outcome_of(Grade(Verdict.CORRECT)) == 1.0
    assert outcome_of(Grade(Verdict.UNPARSED)) == 0.0
    assert outcome_of(Grade(Verdict.INCORRECT, score=0.3)) == 0.3
    assert outcome_of(Grade(Verdict.UNGRADED)) is None


async def test_answers_are_kept_where_that_was_asked_for_and_always_measured() -> None:
    item = GradeItem("", ("42",), "Q")
    answer = ProbeAnswer(completions=(tuple(b"42"), tuple(b"7 or 8")))
    for keep in (False, True):
        plan = plan_rollouts(Rollouts("rollouts", keep_answers=keep), FREE, ScriptedTokenizer(), WordGrader(), item)
        [value] = await plan.values([answer])
        # Two answers of 2 and 6 tokens.
        assert (value.value, value.answer_tokens) == (0.5, 4.0)
        kept = (SampledAnswer("42", Verdict.CORRECT, 2), SampledAnswer("7 or 8", Verdict.INCORRECT, 6))
        assert value.answers == (kept if keep else None)
        assert isinstance(plan.query, RolloutQuery)
        assert plan.query.logprobs is keep
    reported = ProbeAnswer(completions=answer.completions, completion_logprobs=(-0.5, -1.5))
    [value] = await plan.values([reported])
    assert [kept.logprob for kept in value.answers or ()] == [-0.5, -1.5]
