"""What metrics are called, which way is better, and how their numbers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.summary import ModelSummary, Summary

Shape = Literal["share", "tokens", "count", "number"]


@dataclass(frozen=True, slots=True)
class Word:
    """A metric in words.

    Attributes:
        title: a few words.
        shape: how its numbers are written.
        better: which way.
        meaning: one sentence.

    """

    title: str
    shape: Shape
    better: Literal["up", "down", ""]
    meaning: str


WORDS: Mapping[str, Word] = {
    "final": Word(
        "Accuracy at the end", "share", "up",
        "J of the whole trace: the prover has to answer after all of its thinking, even where the trace was cut off.",
    ),
    "outcome": Word(
        "Outcome reward", "share", "up",
        "The reward of the answer that the trace itself gave, mostly 0 or 1; 0 where it was cut off before an answer.",
    ),
    "empty": Word("Accuracy without thinking", "share", "up", "J of the empty prefix."),
    "gain": Word("Gained by thinking", "share", "up", "J at the end minus J of the empty prefix."),
    "accuracy": Word("Accuracy at {}", "share", "up", "Thinking is cut so that the answer is there by this budget."),
    "anytime": Word("Anytime accuracy to {}", "share", "up", "Mean accuracy over all budgets up to this one."),
    "regret": Word(
        "Normalised regret to {}", "share", "down", "1 minus anytime accuracy: 0 for a model that is right at once."
    ),
    "majority_regret": Word(
        "Regret against majority votes", "share", "down",
        "Shortfall from the better of thinking on and voting at each prefix. Needs 8 answers a prefix.",
    ),
    "tokens_to": Word("Tokens to reach {}", "tokens", "down", "Where the mean curve crosses this accuracy."),
    "tokens": Word("Thinking tokens a trace", "tokens", "down", "In tokens of the prover."),
    "episodes": Word("Episodes a trace", "count", "", "Pieces into which the thinking is cut."),
    "zero": Word("Episodes that earned nothing", "share", "down", "|progress| is below the threshold in the notes."),
    "negative": Word(
        "Episodes that cost accuracy", "share", "down", "Progress is at or below minus the threshold in the notes."
    ),
    "needless": Word(
        "Thinking after it was solved", "share", "down", "Share of thinking tokens after J first reached 0.9."
    ),
    "late_gain": Word(
        "Gained in the last quarter", "share", "up", "Progress over the last quarter of the thinking tokens."
    ),
    "truncated": Word("Cut off by the budget", "share", "down", "Traces that the limit on sampled tokens ended."),
    "stderr": Word("Standard error of a value", "number", "", "How uncertain a single J is."),
}  # fmt: skip

TABLE = ("final", "outcome", "empty", "accuracy", "anytime", "majority_regret", "tokens_to", "tokens", "episodes",
         "zero", "negative", "needless", "late_gain", "truncated")  # fmt: skip
"""Rows of the table of models, in order."""


def word_of(metric: str) -> Word:
    """A metric in words, its budget or target put in."""
    name, _, at = metric.partition("@")
    word = WORDS[name]
    if not at:
        return word
    put = f"{float(at):.0%}" if name == "tokens_to" else f"{float(at):,.0f} tokens"
    return Word(word.title.format(put), word.shape, word.better, word.meaning)


def table_metrics(summary: Summary) -> list[str]:
    """Metrics of the table, of those that at least one model has."""
    names = {name for model in summary.models for name, each in model.metrics.items() if each.value is not None}
    rows: list[str] = []
    for wanted in TABLE:
        found = [name for name in names if name.partition("@")[0] == wanted]
        rows += sorted(found, key=lambda name: float(name.partition("@")[2] or 0))
    # Only the longest budget's area: the shorter ones say the same of less.
    areas = [name for name in rows if name.startswith("anytime@")]
    return [name for name in rows if name not in areas[:-1]]


def headline(model: ModelSummary) -> str:
    """What a model came to, in a line: accuracy at the end, normalised regret to the largest budget, tokens."""
    budgets = sorted((name for name in model.metrics if name.startswith("regret@")), key=lambda name: float(name[7:]))
    names = [name for name in ("final", *budgets[-1:], "tokens") if name in model.metrics]
    parts: list[str] = []
    for name in names:
        word, estimate = word_of(name), model.metrics[name]
        parts.append(f"{word.title.lower()} {written(estimate.value, word.shape)} {interval_of(estimate, word.shape)}")
    return f"{model.name}: {', '.join(part.rstrip() for part in parts)}"


def written(number: float | None, shape: Shape, *, signed: bool = False) -> str:
    """A number as a reader wants it."""
    if number is None:
        return "-"
    sign = "+" if signed and number > 0 else ""
    match shape:
        case "share":
            return f"{sign}{number:.3f}"
        case "tokens":
            return f"{sign}{number:,.0f}"
        case "count":
            return f"{sign}{number:.1f}"
        case "number":
            return f"{sign}{number:.3g}"


def interval_of(estimate: Estimate, shape: Shape, *, signed: bool = False) -> str:
    """The interval in brackets; empty where there is none."""
    if estimate.low is None and estimate.high is None:
        return ""
    low, high = (written(end, shape, signed=signed) for end in (estimate.low, estimate.high))
    return f"[{low}, {'never' if estimate.high is None else high}]"
