from __future__ import annotations

import pytest

from mrt_reward.core.boundaries import paragraph_starts
from mrt_reward.core.formulas import MAX_FORMULA_CHARS, formula_spans
from mrt_reward.types import Span


def formulas(text: str) -> list[str]:
    span = Span(0, len(text))
    return [text[found.start : found.end] for found in formula_spans(text, span, paragraph_starts(text, span))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so $x = 1. Y$ holds", ["$x = 1. Y$"]),
        ("so $ x = 1 $ holds", ["$ x = 1 $"]),
        ("so $$\nx = 1\n\n= 2\n$$ holds", ["$$\nx = 1\n\n= 2\n$$"]),
        (r"so \(x\) and \[y\] hold", [r"\(x\)", r"\[y\]"]),
        (r"\begin{align*}a &= b. \\[2pt] C\end{align*} x", [r"\begin{align*}a &= b. \\[2pt] C\end{align*}"]),
        (r"\[\begin{cases}a\end{cases}\] x", [r"\[\begin{cases}a\end{cases}\]"]),
        ("$a$, $b$", ["$a$", "$b$"]),
    ],
)
def test_formulas_of_every_kind_are_found_whole(text: str, found: list[str]) -> None:
    assert formulas(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5. Then it costs $10.",
        "It costs $5.\n\nThe tax is 2$ more.",
        r"It costs \$5 or \$6.",
        "It costs 5$ and 10$.",
        r"Open \[ and never closed. Next \( as well $$ here \begin{align} too.",
        r"A line break \\[2pt] and a bracket \]",
        "$" + "x" * MAX_FORMULA_CHARS + "$",
        "$",
        "",
    ],
)
def test_prices_and_what_nothing_closes_are_no_formulas(text: str) -> None:
    assert formulas(text) == []


def test_only_formulas_within_the_span_are_found() -> None:
    assert formula_spans("$a$ $b$ $c$", Span(4, 7), [4]) == [Span(4, 7)]
    assert formula_spans("$a$", Span(0, 2), [0]) == []
