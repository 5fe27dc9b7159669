from __future__ import annotations

import pytest

from mrt_reward.graders.words import words_agree


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("evelyn", r"\text{Evelyn}", True), ("New  York", "NewYork", True), ("True", "true", True),
        ("DCBA", "ABCD", False),
        ("CAT", "ACT", False), ("no", "on", False), ("Bob and Alice", "Alice, Bob", True),
        ("Alice", "Alice and Bob", False),
        (r"\text{The answer is odd.}", "odd", True), ("5", "odd", False), ("正确", "正确", True),
        ("yx", "xy", None), ("x", "x", None), ("cos x", "sin x", None), ("5", "5", None), (r"\pi", r"\pi", None),
        ("pi", "pi", None), ("x+y", "x+y", None), ("a b c", "a b c", None),
    ],
)  # fmt: skip
def test_words_are_compared_in_order_and_mathematics_is_not(answer: str, gold: str, same: bool | None) -> None:
    assert words_agree(answer, gold) is same
