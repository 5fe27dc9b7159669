"""From what the prover answered to a value J with its uncertainty.

Dimension key: M answers to one prefix · S spellings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mrt_reward.core.beta import beta_quantile
from mrt_reward.types import Value, Verdict

TAIL = 0.025
"""Probability outside a 95 % interval, on each side."""

Counts = tuple[int, int, int, int]
"""Answers that were correct, incorrect, unparsed and ungraded."""

LOG_SLACK = 1e-3
"""How far above 0 rounding may lift a log-probability, that of a certain token in half precision included."""


def rollout_value(verdicts: Sequence[Verdict], *, best_of: int = 1) -> Value:
    """Success rate over graded answers, or of the best of k of them.

        J = c / n                                    (MRT, section 5: mean accuracy of forced answers)
        J_k = 1 - C(n - c, k) / C(n, k)              (Best-of-k prover, Rewarding Progress; unbiased)

    UNPARSED is a miss; UNGRADED is left out of n. Standard error and interval are those of the posterior of p,
    Beta(c + 1/2, n - c + 1/2), carried through 1 - (1 - p)^k, which rises, so that its quantiles are exact for k > 1
    too. The interval reaches 0 where none was right and 1 where all were, as J itself may, and holds the value.

    Args:
        verdicts: M of them.
        best_of: k, at least 1.

    Returns:
        A value in [0, 1]; no value when none was graded, or fewer than k.

    """
    if best_of < 1:
        raise ValueError(f"best_of must be at least 1, got {best_of}")
    count = Counter(verdicts)
    kinds = (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED)
    correct, incorrect, unparsed, ungraded = (count[kind] for kind in kinds)
    return _rate((correct, incorrect, unparsed, ungraded), best_of)


def pooled(first: Value, more: Value) -> Value:
    """One value from more answers to the same prefix, which were asked for because of the first: it is adaptive.

    Args:
        first: a rate of right answers, or missing.
        more: likewise; coupled, if the first one is.

    """
    correct, incorrect, unparsed, ungraded = (sum(each) for each in zip(_counts(first), _counts(more), strict=True))
    lengths = [(sum(_counts(each)), each.answer_tokens) for each in (first, more) if each.answer_tokens is not None]
    num_answers = sum(num for num, _ in lengths)
    return replace(
        _rate((correct, incorrect, unparsed, ungraded), 1),
        answer_tokens=sum(num * mean for num, mean in lengths) / num_answers if num_answers else None,
        answers=None if first.answers is None else first.answers + (more.answers or ()),
        verdicts=None if first.verdicts is None else first.verdicts + (more.verdicts or ()),
        adaptive=True,
    )


def _counts(value: Value) -> Counts:
    return value.correct or 0, value.incorrect or 0, value.unparsed or 0, value.ungraded or 0


def _rate(counts: Counts, best_of: int) -> Value:
    correct, graded = counts[0], sum(counts[:3])
    if graded == 0 or graded < best_of:
        return Value(None, None, None, None, None, *counts)
    a, b = correct + 0.5, graded - correct + 0.5
    low = 0.0 if correct == 0 else beta_quantile(a, b, TAIL)
    high = 1.0 if correct == graded else beta_quantile(a, b, 1 - TAIL)
    stderr = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    if best_of > 1:
        missed = _miss_moment(a, b, best_of)
        stderr = math.sqrt(max(0.0, _miss_moment(a, b, 2 * best_of) - missed**2))
        low, high = 1 - (1 - low) ** best_of, 1 - (1 - high) ** best_of
    # One division of whole numbers, so that k = 1 gives c / n to the last bit.
    subsets = math.comb(graded, best_of)
    value = (subsets - math.comb(graded - correct, best_of)) / subsets
    return Value(value, stderr, min(low, value), max(high, value), None, *counts)


def _miss_moment(a: float, b: float, power: int) -> float:
    """E[(1 - p)^power] of p ~ Beta(a, b)."""
    return math.prod((b + i) / (a + b + i) for i in range(power))


def graded_of(value: Value) -> tuple[int, int] | None:
    """Answers that were right, and that were graded; None where no verdicts are known."""
    if value.correct is None:
        return None
    graded = value.correct + (value.incorrect or 0) + (value.unparsed or 0)
    return (value.correct, graded) if graded else None


def counts_of(value: Value) -> tuple[int, int] | None:
    """Answers that were right, and that were graded; None of a value that is not their quotient."""
    counts = graded_of(value)
    return counts if counts is not None and value.value == counts[0] / counts[1] else None


def likelihood_value(logprobs: Sequence[float]) -> Value:
    """Probability that the prover at temperature 1 writes one of the listed spellings and closes it.

        J >= Σ_s p(spelling s, close)

    Never length-normalised: the sum over disjoint events is itself a probability. It has no sampling error, and can
    only understate, because other spellings may be right too.

    Args:
        logprobs: S natural logarithms of disjoint events.

    Returns:
        A value in [0, 1], labelled as a lower bound.

    Raises:
        ValueError: none is given, or one is not the logarithm of a probability.

    """
    if not logprobs or any(math.isnan(logprob) or logprob > LOG_SLACK for logprob in logprobs):
        raise ValueError(f"expected at least one log-probability, each at most 0, got {list(logprobs)}")
    value = min(1.0, math.fsum(math.exp(logprob) for logprob in logprobs))
    return Value(value, 0.0, value, value, "lower")
