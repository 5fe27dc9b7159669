"""Majority votes over the forced answers of one prefix.

Answers that the grader called right are one class, whatever their spelling. Wrong ones differ by their text. An
answer in which nothing could be read agrees with no other one, and an ungraded one has no vote.

Dimension key: M answers · N votes among them · S sizes of a vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.regret import MAX_SUBSETS, majority_vote, weighted_majority_vote, weighted_votes_won
from mrt_reward.errors import ConfigError
from mrt_reward.types import SampledAnswer, Verdict

Floats = NDArray[np.float64]

RIGHT = 0
"""Class of every right answer."""

NUM_DRAWN = 20_000
"""Subsets of answers that a weighted vote draws where there are too many to count all."""


def answer_classes(answers: Sequence[SampledAnswer]) -> tuple[int, ...]:
    """Class of each answer that has a vote; `RIGHT` for right ones, numbers in order of appearance for others.

    Returns:
        `class_N`, without the ungraded ones.

    """
    known: dict[str | int, int] = {}
    classes: list[int] = []
    for index, answer in enumerate(answers):
        if answer.verdict is Verdict.CORRECT:
            classes.append(RIGHT)
        elif answer.verdict is not Verdict.UNGRADED:
            name = index if answer.verdict is Verdict.UNPARSED else answer.text
            classes.append(known.setdefault(name, len(known) + 1))
    return tuple(classes)


def majority_values(answers: Sequence[SampledAnswer], sizes: Sequence[int]) -> tuple[float, ...]:
    """maj@k of one prefix for several k: plain votes, every subset once, ties split evenly.

    maj@1 is the success rate c / n.

    Returns:
        A number in [0, 1] for each size; NaN where fewer than k answers have a vote.

    """
    right, others = 0, dict[str | int, int]()
    for index, answer in enumerate(answers):
        verdict = answer.verdict
        if verdict is Verdict.CORRECT:
            right += 1
        elif verdict is not Verdict.UNGRADED:
            name = index if verdict is Verdict.UNPARSED else answer.text
            others[name] = others.get(name, 0) + 1
    return _majorities(right, tuple(sorted(others.values())), tuple(sizes))


@lru_cache(maxsize=65_536)
def _majorities(right: int, others: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[float, ...]:
    # Few ways to be split are met again and again, and each is costly to count.
    num_votes = right + sum(others)
    return tuple(majority_vote([right, *others], RIGHT, size) if size <= num_votes else math.nan for size in sizes)


def vote_values(answers: Sequence[SampledAnswer], sizes: Sequence[int], *, weighted: bool) -> tuple[float, ...]:
    """maj@k of one prefix for several k, by plain votes or by `likelihood_weights`.

    Raises:
        ConfigError: weights are asked for, and an answer has none.

    """
    if not weighted:
        return majority_values(answers, sizes)
    return tuple(weighted_values(answers, likelihood_weights(answers), sizes).tolist())


def likelihood_weights(answers: Sequence[SampledAnswer]) -> list[float]:
    """The authors' weight of each vote: 2^(mean log-probability), natural logarithm and all.

    Raises:
        ConfigError: an answer has no log-probability.

    """
    known = [answer.logprob for answer in answers if answer.logprob is not None]
    if len(known) < len(answers):
        raise ConfigError(
            f"weighted votes need the log-probability of every answer, and {len(answers) - len(known)} of a prefix's "
            f"{len(answers)} answers have none: evaluate with an engine that tells them (transformers, vllm, or openai "
            "before vLLM's server), or take plain votes",
            param="weighted_votes",
        )
    return [2.0**logprob for logprob in known]


def weighted_values(answers: Sequence[SampledAnswer], weights: Sequence[float], sizes: Sequence[int]) -> Floats:
    """maj@k with a weight for each answer, such as the authors' 2^(mean log-probability).

    Every subset counts once; where there are more than `core.regret.MAX_SUBSETS`, `NUM_DRAWN` are drawn, always the
    same, with a standard error of at most 0.004. (The authors draw 100,000 in any case.)

    Args:
        answers: M of them.
        weights: of each, above 0.
        sizes: k of each vote.

    Returns:
        `value_S` in [0, 1]; NaN where fewer than k answers have a vote.

    """
    if len(answers) != len(weights):
        raise ValueError(f"expected one weight per answer, got {len(weights)} for {len(answers)}")
    classes = answer_classes(answers)
    graded = [weight for answer, weight in zip(answers, weights, strict=True) if answer.verdict is not Verdict.UNGRADED]
    correct = RIGHT if RIGHT in classes else None
    return np.array([_weighted(classes, graded, correct, size) if size <= len(classes) else np.nan for size in sizes])


def _weighted(classes: Sequence[int], weights: Sequence[float], correct: int | None, size: int) -> float:
    if correct is None:
        return 0.0
    if math.comb(len(classes), size) <= MAX_SUBSETS:
        return weighted_majority_vote(classes, weights, correct, size)
    return weighted_votes_won(_drawn_subsets(len(classes), size), classes, weights, correct)


@lru_cache(maxsize=16)
def _drawn_subsets(num_answers: int, size: int) -> NDArray[np.bool_]:
    """Random subsets of one size, each as likely as any other, `member_QM`."""
    draw_QM = np.random.default_rng([num_answers, size]).random((NUM_DRAWN, num_answers))
    return draw_QM.argsort(axis=1).argsort(axis=1) < size
