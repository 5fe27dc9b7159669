from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.golds import read_gold

GSM8K = "He has 3+4=<<3+4=7>>7 apples.\r\nThen 1,234.\r\n#### 1,234\r\n"
SOLUTION = "We get $x=3$, so $\\boxed{x = 3}$ is a step.\n\nAdding them, $\\boxed{\\frac{1}{2}}$ is the sum."


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("$\\boxed{42}$.", "42"),
        ("$$\r\n42\r\n$$.", "42"),
        (r"\[ x = 5. \]", "x = 5"),
        (r"\boxed{\boxed{42}}", "42"),
        (r"\boxed 7$.", "7"),
        (SOLUTION, r"\frac{1}{2}"),
        ("### Final Answer\n\\[ \\boxed{90^\\circ} \\]\n", r"90^\circ"),
        (r"$\boxed{3}$ and $\boxed{5}$", "3, 5"),
        (r"$x = \boxed{3}$, $y = \boxed{5}$.", "3, 5"),
        ('["42"]', "42"),
        ("['42']", "42"),
        (r'["\\frac{1}{2}"]', r"\frac{1}{2}"),
        (r'["\frac{1}{2}"]', r"\frac{1}{2}"),
        ('"42"', "42"),
        ("#### 42", "42"),
        (GSM8K, "1,234"),
        ("Answer: 42", "42"),
        ("answer = 42", "42"),
        ("= 42", "42"),
        ("The answer is 42.", "42"),
        ("So the correct answer is: $\\frac{3}{4}$.", r"\frac{3}{4}"),
        ("Answer: 3 at first.\nAnswer: 4", "4"),
        ("**Answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("**Final Answer**\n\n$42$.", "42"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "42"),
        ("The correct answer is option (C).", "(C)"),
        ("Answer: yes", "yes"),
        ("<answer>42</answer>", "42"),
        ("blah <answer> (B) </answer>", "(B)"),
        ("**42**", "42"),
        ("`42`", "42"),
        ("$3$ and $5$", "3 and 5"),
        (r"\( 7 \) or \( 8 \)", "7 or 8"),
        ("\ufeff42\u200b\r\n", "42"),
        ("10\N{NO-BREAK SPACE}cm", "10 cm"),
        ("Evelyn.", "Evelyn"),
        ("5.", "5"),
        ("1e-05", "0.00001"),
        ("1.2e-5", "0.000012"),
        ("6.02E23", "602000000000000000000000"),
    ],
)
def test_a_wrapped_gold_is_read_as_its_answer(gold: str, answer: str) -> None:
    assert read_gold(gold) == answer


@pytest.mark.parametrize(
    "gold",
    [
        "42", "3.14", "0.50", "-7", "1,000", r"\$5.00", "$5", "x=5", r"50\%", "3:4", "2**10", "e", "3e", "1e400",
        r"\{1,2\}", "(1,2]", "[1, 2]", "[1,2)", "[42]", "1, 2, 3, ...", r"x \in [0,1]", "(C)", "A. 12", "no", "Evelyn",
        "U.S.", "10:30 p.m.", "...", r"\left\{\begin{array}{l} x \\ y \end{array}\right.",
        r"\begin{pmatrix} 1 \\ (2) \end{pmatrix}", r"\text{yes}", "f'(x)", '["a", "b"]', r"\boxed{}",
        "answer", "The answer to everything", "nobody knows what the answer is", r"\text{Answer: } 5",
    ],
)  # fmt: skip
def test_what_is_an_answer_itself_stays_as_it_is(gold: str) -> None:
    assert read_gold(gold) == gold


PIECES = [
    "\\boxed{", "}", "{", "$", "\\(", "\\)", "####", "Answer:", "the answer is", "<answer>", "</answer>", '["', '"]',
    "**", "`", ".", "\n", "\r", " ", ",", "and", "x =", "42", "\\frac12", "yes", "option", "C", "1e5", "'", '"',
]  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_reading_is_idempotent_and_never_loses_the_whole_answer(gold: str) -> None:
    read = read_gold(gold)
    assert read_gold(read) == read
    assert bool(read) or not gold.strip("\ufeff\u200b\u200c\u200d\u2060\u00ad\u00a0 \r\n\t") or not gold.strip()


@pytest.mark.parametrize("piece", [*PIECES, "I hope ", "answer ", "\\boxed 1", "[*_", " \n", "\\"])
def test_reading_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        text = (piece * count)[:count]
        started = time.process_time()
        read_gold(text)
        return time.process_time() - started

    small = min(seconds(20_000) for _ in range(3))
    assert min(seconds(80_000) for _ in range(3)) < 12 * small + 0.05
