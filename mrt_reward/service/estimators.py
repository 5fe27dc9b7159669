"""How a prefix's value is got: what to ask the prover, and how to read its answers.

A new estimator is one more `Plan`, and one more case in `plan_estimator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Protocol

import numpy as np

from mrt_reward.core.scores import mean_score_value
from mrt_reward.core.values import likelihood_value, rollout_value
from mrt_reward.errors import TraceError
from mrt_reward.golds import is_odd
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions, Terminator
from mrt_reward.protocols import (
    GradeItem,
    Grader,
    LikelihoodQuery,
    ProbeAnswer,
    ProverInfo,
    Query,
    RolloutQuery,
    SpellingIds,
    Tokenizer,
)
from mrt_reward.service.encoding import problem_text
from mrt_reward.types import Grade, SampledAnswer, Trace, Value, Verdict

MAX_SPELLINGS = 8
MAX_SPELLING_TOKENS = 256
"""Each is forced after each prefix, in some engines one token at a time.

A longer one has no probability to speak of: it is left out beside shorter ones, and refused alone.
"""

Speller = Callable[[str], tuple[str, ...]]
"""Accepted spellings of a gold answer, best first."""


class Plan(Protocol):
    """One trace's way from probes to values."""

    @property
    def query(self) -> Query:
        """What to ask at every probe."""
        ...

    @property
    def identity(self) -> str:
        """Everything beyond the prefix and the prover that can change a value; part of cache keys."""
        ...

    @property
    def spellings(self) -> tuple[str, ...]:
        """Of the gold answer, if they are what is asked for."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should know of how the trace is valued."""
        ...

    @property
    def best_of(self) -> int:
        """The k of a Best-of-k prover; 1 of others."""
        ...

    async def values(self, answers: Sequence[ProbeAnswer]) -> list[Value]:
        """One value for each probe."""
        ...


@dataclass(frozen=True, slots=True)
class LikelihoodPlan:
    """Sum the probabilities of the gold answer's spellings."""

    query: LikelihoodQuery
    identity: str
    spellings: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of a gold answer that no model is likely to write, such as a whole solution without a box."""
        if not is_odd(self.spellings):
            return ()
        shortest = min(self.spellings, key=len)
        return (
            f"no model is likely to write the gold answer as it is spelt ({shortest!r:.80}, {len(shortest)} in all), "
            "and J is the probability of just that: send the answer alone, or list options.estimator.spellings",
        )

    @property
    def best_of(self) -> int:
        """No answer is taken as the best of several."""
        return 1

    async def values(self, answers: Sequence[ProbeAnswer]) -> list[Value]:
        """Values without sampling error."""
        answer_tokens = len(self.query.spellings[0].ids) + 1.0
        return [replace(likelihood_value(answer.spelling_logprobs), answer_tokens=answer_tokens) for answer in answers]


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """Values from sampled answers, which are graded."""

    query: RolloutQuery
    identity: str
    best_of: int
    grader: Grader
    tokenizer: Tokenizer
    item: GradeItem
    spellings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    keep_answers: bool = False

    def block(self, index: int, num_samples: int) -> RolloutPlan:
        """The plan of one block of answers of those that are given in rounds; each block has noise of its own."""
        query = replace(self.query, num_samples=num_samples)
        return replace(self, query=query, identity=f"{self.identity}|block {index} of {num_samples}")

    async def values(self, answers: Sequence[ProbeAnswer]) -> list[Value]:
        """One value for each probe, from its M graded answers."""
        texts_P = [[self.tokenizer.decode(ids) for ids in answer.completions] for answer in answers]
        # The same short answer comes again and again; it is judged once.
        unique = list(dict.fromkeys(text for texts in texts_P for text in texts))
        items = [
            GradeItem(text, self.item.answers, self.item.problem, boxed_prefix=self.item.boxed_prefix)
            for text in unique
        ]
        grade_of = dict(zip(unique, await self.grader.grade(items), strict=True))
        return [
            self._with_answers(self._value([grade_of[text] for text in texts]), answer, texts, grade_of)
            for answer, texts in zip(answers, texts_P, strict=True)
        ]

    def _with_answers(
        self, value: Value, answer: ProbeAnswer, texts: Sequence[str], grade_of: Mapping[str, Grade]
    ) -> Value:
        """The value with what is known of its answers: their mean length, and themselves if they are to be kept."""
        lengths = [len(ids) for ids in answer.completions]
        logprobs = answer.completion_logprobs or [None] * len(texts)
        kept = tuple(
            SampledAnswer(text, grade_of[text].verdict, length, logprob)
            for text, length, logprob in zip(texts, lengths, logprobs, strict=True)
        )
        return replace(
            value,
            answer_tokens=float(np.mean(lengths)) if lengths else None,
            answers=kept if self.keep_answers else None,
        )

    def _value(self, grades: Sequence[Grade]) -> Value:
        verdicts = tuple(grade.verdict for grade in grades)
        if self.grader.binary:
            value = rollout_value(verdicts, best_of=self.best_of)
        else:
            value = mean_score_value([grade.score for grade in grades])
        return replace(value, verdicts=verdicts) if self.query.coupled else value


def resolved(options: ScoreOptions, info: ProverInfo) -> ScoreOptions:
    """The options with what they leave to the prover: answers are coupled where it can do so."""
    estimator = options.estimator
    if not isinstance(estimator, Rollouts) or estimator.coupled is not None:
        return options
    return replace(options, estimator=replace(estimator, coupled=info.can_couple))


def plan_estimator(trace: Trace, options: ScoreOptions, tokenizer: Tokenizer, grader: Grader, speller: Speller) -> Plan:
    """Plan for the estimator that the options name.

    Raises:
        TraceError: the trace, the terminator or the grader does not go with it.

    """
    terminator = options.resolved_terminator()
    match options.estimator:
        case Likelihood() as likelihood:
            return plan_likelihood(likelihood, terminator, tokenizer, trace.answer, speller)
        case Rollouts() as rollouts:
            problem = problem_text(trace, tokenizer, options.delimiters)
            item = GradeItem("", trace.answer, problem, boxed_prefix=terminator.answer == "boxed")
            return plan_rollouts(rollouts, terminator, tokenizer, grader, item)


def plan_likelihood(
    options: Likelihood, terminator: Terminator, tokenizer: Tokenizer, answers: Sequence[str], spell: Speller
) -> LikelihoodPlan:
    """Plan for `likelihood`.

    Raises:
        TraceError: no gold answer, only long ones, or a terminator after which the answer is free text.

    """
    if terminator.answer != "boxed":
        raise TraceError(
            "estimator 'likelihood' needs a terminator that ends at \\boxed (answer: 'boxed'); this one leaves the "
            "answer free: use terminator 'boxed', or estimator 'rollouts'",
            param="options.estimator",
        )
    # Several golds share the room: the first spelling of each, then the second of each, and so on.
    ranked = zip_longest(*map(spell, answers), fillvalue="")
    listed = options.spellings or tuple(spelling for ways in ranked for spelling in ways if spelling)
    spellings = tuple(dict.fromkeys(listed))[:MAX_SPELLINGS]
    if not spellings:
        raise TraceError(
            "estimator 'likelihood' needs the gold answer: send `answer`, or use 'rollouts' and a grader without one",
            param="answer",
        )
    written = {spelling: _spelling_ids(spelling, tokenizer) for spelling in spellings}
    short = {spelling: ids for spelling, ids in written.items() if len(ids.ids) <= MAX_SPELLING_TOKENS}
    if not short:
        least = min(len(ids.ids) for ids in written.values())
        raise TraceError(
            f"estimator 'likelihood' forces answers of at most {MAX_SPELLING_TOKENS} tokens, and the shortest spelling "
            f"of this gold answer has {least}: send the final answer alone, or use 'rollouts'",
            code="answer_too_long",
            param="options.estimator.spellings" if options.spellings else "answer",
        )
    query = LikelihoodQuery(tuple(short.values()))
    return LikelihoodPlan(query, f"likelihood|{query.spellings!r}", tuple(short))


def _spelling_ids(spelling: str, tokenizer: Tokenizer) -> SpellingIds:
    *ids, last = (int(token) for token in tokenizer.encode_untrusted("{" + spelling + "}").ids)
    text = tokenizer.decode([last])
    if not text.startswith("}"):
        # The close merged with the answer's end, so only this one token can close it.
        return SpellingIds(tuple(ids), (last,))
    close = tokenizer.close_ids
    if text != "}":
        close = tuple(token for token in close if tokenizer.decode([token]).startswith(text))
    return SpellingIds(tuple(ids), close)


def plan_rollouts(
    options: Rollouts, terminator: Terminator, tokenizer: Tokenizer, grader: Grader, item: GradeItem
) -> RolloutPlan:
    """Plan for `rollouts`.

    Raises:
        TraceError: the grader needs a gold answer and there is none, or best-of-k is asked of a grader of scores.

    """
    if grader.needs_answer and not item.answers:
        raise TraceError(f"grader {grader.identity!r} needs the gold answer: send `answer`", param="answer")
    if options.best_of > 1 and not grader.binary:
        raise TraceError(
            f"best_of needs verdicts, and grader {grader.identity!r} returns scores", param="options.estimator.best_of"
        )
    if options.mean_samples is not None:
        _check_rounds(options, options.mean_samples, grader)
    boxed = terminator.answer == "boxed"
    query = RolloutQuery(
        num_samples=options.num_samples,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens or (64 if boxed else 1024),
        stop_at_close=boxed,
        logprobs=options.keep_answers,
        coupled=bool(options.coupled),
    )
    identity = (
        f"rollouts|{query!r}|{options.best_of}|{options.seed}|{grader.identity}|{item.answers!r}|{item.problem!r}"
    )
    # Said only where it is asked for: seeds are made of this, and with them the answers of all others.
    if options.coupled:
        identity += "|coupled"
    if options.keep_answers:
        identity += "|answers"
    return RolloutPlan(query, identity, options.best_of, grader, tokenizer, item, keep_answers=options.keep_answers)


def _check_rounds(options: Rollouts, mean_samples: float, grader: Grader) -> None:
    if options.best_of > 1 or not grader.binary:
        raise TraceError(
            "mean_samples gives answers by the posterior of rates of right answers: use a grader of right and wrong, "
            "and best_of 1",
            param="options.estimator.mean_samples",
        )
    if mean_samples > options.num_samples:
        raise TraceError(
            f"mean_samples must be at most num_samples = {options.num_samples}, got {mean_samples:g}",
            param="options.estimator.mean_samples",
        )


def outcome_of(grade: Grade) -> float | None:
    """Outcome reward r of a finished trace: 0/1, or a grader's score; None where it could not be judged."""
    if grade.verdict is Verdict.UNGRADED:
        return None
    return grade.score if grade.score is not None else float(grade.verdict is Verdict.CORRECT)
