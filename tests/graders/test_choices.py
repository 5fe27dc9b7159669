from __future__ import annotations

import pytest

from mrt_reward.graders.choices import choice_letter, choices_agree, stated_choice


@pytest.mark.parametrize(
    ("gold", "letter"),
    [("I", "I"), (r"\text{I}", "I"), ("(I)", "I"), (r"\text{(C)}", "C"), ("(c)", "c"), (r"$\textbf{(D)}$", "D"),
     ("e", None), ("i", None), (r"\text{e}", None), ("AB", None), ("A.", "A"), ("7", None),
     ("C. 12", "C"), ("(C) 12", "C"), (r"\textbf{(C)}\ 12", "C"), ("Iris", None), ("E = 5", None)],
)  # fmt: skip
def test_a_bare_lower_case_letter_is_a_symbol_and_no_choice(gold: str, letter: str | None) -> None:
    assert choice_letter(gold) == letter


@pytest.mark.parametrize(
    "answer",
    ["I", "(I)", r"\text{I}", "(i)", "I.", "I)", "I. Something", "(I) 42", r"\textbf{I}: done", r"\text{I. A matrix}",
     r"\textbf{(I)} $\frac{1}{2}$", "$I$"],
)  # fmt: skip
def test_a_choice_may_be_named_in_several_ways(answer: str) -> None:
    assert choices_agree(answer, "I") is True


@pytest.mark.parametrize(
    "answer", ["i", "J", "(J) I", "I, J", "I or J", "(I) or (J)", "I. J", "I. x J. y", "IJ", "I = 5", "1", "", "Iris"]
)
def test_other_letters_symbols_and_several_letters_name_no_choice(answer: str) -> None:
    assert choices_agree(answer, "I") is False


def test_symbols_are_left_to_mathematics() -> None:
    assert choices_agree("e", "e") is None
    assert choices_agree("(E)", "e") is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (A). No, the answer is (B).", "(B)"), ("Answer: C", "(C)"), ("B", "(B)"), ("(b)", "(b)"),
        (r"answer is \text{D}.", "(D)"), ("The answer is option (E)", "(E)"), ("I do not know", None),
        ("answer 5", None), ("The answer is a circle, so we choose (B).", "(B)"), ("the answer is I think (C)", "(C)"),
        ("The answer is A circle.", None), ("The answer is (A) or (B).", None), ("The answer is not (A).", None),
        ("The answer is B, not option A.", "(B)"), ("Option A is wrong. Option (C).", "(C)"), ("B is correct.", "(B)"),
        ("<answer> (C) </answer>", "(C)"), ("**Answer: D**", "(D)"), ("So it is.\n\n**B**", "(B)"), ("故选 B", "(B)"),
    ],
)  # fmt: skip
def test_free_text_states_its_choice(text: str, letter: str | None) -> None:
    assert stated_choice(text) == letter


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        (r"\text{A and C}", "A,C", True), ("C, A", "A and C", True), ("AC", "A, C", True), ("A, B", "AB", True),
        ("A", "A,C", False), ("A,B,C", "A,C", False), ("x,y", "x,y", None), ("7", "A,C", None),
    ],
)  # fmt: skip
def test_several_letters_are_a_set(answer: str, gold: str, same: bool | None) -> None:
    assert choices_agree(answer, gold) is same
