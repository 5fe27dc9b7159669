from __future__ import annotations

import pytest

from mrt_reward.graders.statements import stated_answer


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The answer is 3/7.", "3/7"), ("The total is 2^5.", "2^5"), ("It is half, i.e. 1/2.", "1/2"), ("1/2!", "1/2"),
        ("it equals 3*(4+5)", "3*(4+5)"), ("so we get 3*(4+5) = 27", "3*(4+5) = 27"), ("The answer is x + 3.", "x + 3"),
        ("The answer is 5x", "5x"), ("I paid $18.90.", "$18.90"), ("It is $5 and $7", "$5, $7"), ("So $x=5$.", "x=5"),
        ("The answer is:\n\n\\[\n\\frac{1}{2}\n\\]", r"\frac{1}{2}"), ("#### 42", "42"), ("<answer> 5 </answer>", "5"),
        ("The answer is 5 or 7.", "5, 7"), ("The answer is (3, 4).", "(3, 4)"), ("The answer is [1, 2).", "[1, 2)"),
        ("The answer is 5, 3 more than 2.", "5"), ("The answer is 1. Wait, the answer is 2.", "2"), (r"\boxed 5", "5"),
        ("The answer is 1 000 apples.", "1 000"), ("最终答案：5", "5"), ("It is $n^2$ for every $n$.", "n^2"),
        ("The answer is 5 + something.", None), ("total + 5", None), ("The answer is not 5.", None), ("No idea.", None),
    ],
)  # fmt: skip
def test_a_stated_expression_is_read_to_its_end_or_not_at_all(text: str, stated: str | None) -> None:
    assert stated_answer(text) == stated


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The answer is **New York**. It is big.", "New York"),
        ("Evelyn", "Evelyn"),
        ("First a line.\nThen another.", None),
    ],
)
def test_words_are_stated_up_to_the_end_of_the_sentence(text: str, stated: str | None) -> None:
    assert stated_answer(text, words=True) == stated
