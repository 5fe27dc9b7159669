from __future__ import annotations

import pytest

from mrt_reward.graders.characters import in_latex


@pytest.mark.parametrize(
    ("written", "latex"),
    [
        ("\N{EN DASH}5", "-5"), ("x²+1", "x^{2}+1"), ("10⁻³", "10^{-3}"), ("a₁", "a_{1}"), ("√2", r"\sqrt{2}"),
        ("√(x+1)", r"\sqrt{x+1}"), ("∛8", r"\sqrt[3]{8}"), ("3½", r"3\frac{1}{2}"), ("90°", r"90^\circ"),
        ("2·3", r"2\cdot 3"),
        ("6÷2", "6/2"), ("(\N{MINUS SIGN}∞, 3)", r"(-\infty , 3)"), ("０.３", "0.3"), ("答案：5", "答案:5"),
        ("\u200b5\ufeff", "5"), ("1\u00a0000", "1 000"), ("0.3\u0305", r"0.\overline{3}"),
        (" a \n b ", "a b"), ("é", "é"),
    ],
)  # fmt: skip
def test_unicode_mathematics_becomes_latex(written: str, latex: str) -> None:
    assert in_latex(written) == latex
