from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.notation import plain


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1\\,000\\,000", "1000000"), ("1 000", "1000"), ("1\\ 000", "1000"), ("1'000", "1000"),
        ("32,\\!348", "32,348"),
        ("1{,}000", "1,000"), ("12 34", "12 34"), ("3 1/2", r"3\frac{1}{2}"), ("3 5/2", "3 5/2"),
        (r"0.1\overline{6}", r"\frac{15}{90}"), ("0.(3)", r"\frac{3}{9}"), ("0.333...", r"\frac{3}{9}"),
        ("0.1666\\ldots", r"\frac{15}{90}"), ("3.14159...", "3.14159"), ("1.2e-5", r"1.2 \cdot 10^{-5}"),
        (r"\bf 5", "5"), (r"\textbf{5}", "5"), (r"\text{(-3, 4)}", "(-3, 4)"), (r"\text{odd}", r"\text{odd}"),
        (r"\text{Answer: }5", "5"), ("The answer is 5", "5"), (r"\approx 5", "5"), ("= 5", "5"), ("最终答案：5", "5"),
        ("5.", "5"), (r"5\\", "5"), ("5 \\ ", "5"), ("**5**", "5"), ("exp(16)", r"\exp (16)"), ("sqrt(2)", r"\sqrt{2}"),
        ("2pi", r"2\pi"), (r"\sin 30^\circ", r"\sin(\frac{30\pi}{180})"), (r"52_{\text{eight}}", "52_{8}"),
        ("50 percent", r"50\%"), ("2**3", "2^3"), ("5 or 7", "5 or 7"), ("x+1", "x+1"),
    ],
)  # fmt: skip
def test_many_notations_become_one(written: str, meant: str) -> None:
    assert plain(written) == meant


@given(st.text(alphabet=r"${}\()[]19.,x= ", max_size=30))
def test_a_text_never_becomes_blank(text: str) -> None:
    assert bool(plain(text)) is bool(text.strip())
