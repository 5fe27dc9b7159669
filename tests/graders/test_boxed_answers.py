"""Answers in a box, through the real grader: what models write for a gold, and what must not pass for it."""

from __future__ import annotations

from collections.abc import Sequence

from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict

RIGHT = [
    (r"\text{4 and 5}", "4,5"), (r"\text{42 apples}", "42"),
    (r"\text{June 20}", r"\text{June }20"), (r"\emptyset", r"\varnothing"),
    ("3 1/2", "7/2"), (r"3 \frac{1}{2}", "3.5"), (r"3\,\frac12", r"\frac72"), ("-3 1/2", "-3.5"),
    (r"3\ \frac{1}{2}", "7/2"), ("½", "0.5"), ("3½", r"\frac{7}{2}"), ("¾", r"\frac34"), ("⅓", "1/3"),
    ("1⁄2", "0.5"), (r"0.\overline{3}", r"\frac{1}{3}"), (r"0.\bar{3}", "1/3"), ("0.(3)", "1/3"),
    ("0.333...", "1/3"), (r"0.333\ldots", "1/3"), (r"0.3\overline{18}", r"\frac{7}{22}"),
    (r"0.\overline{142857}", r"\frac17"), (r"2.\overline{9}", "3"), (r"0.\dot{6}", "2/3"),
    (r"0.1666\dots", "1/6"), ("1/3", r"0.\overline{3}"), (r"0.\overline{3}", "0.333333"), ("√3", r"\sqrt{3}"),
    ("2√3", r"2\sqrt3"), ("√(5)", r"\sqrt5"), (r"\frac{√3}{2}", r"\frac{\sqrt3}{2}"), ("∛8", "2"),
    ("sqrt(2)", r"\sqrt2"), ("2sqrt(3)", r"2\sqrt3"), ("2*sqrt(3)", r"2\sqrt{3}"), ("x³", "x^3"),
    ("x²−1", "x^2-1"), ("10⁻³", "0.001"), ("2¹⁰", "1024"), ("a₁", "a_1"), ("m²", "m^2"), ("45°", "45"),
    (r"45^\circ", "45°"), (r"45^{\circ}", "45"), (r"45\text{ degrees}", "45"), (r"45\degree", "45"),
    ("-5°C", "-5"), (r"20^\circ\text{C}", "20"), (r"12.5\%", "0.125"), ("12.5%", "12.5"), ("12.5", r"12.5\%"),
    (r"33.3\%", "33.3"), (r"12\frac12\%", r"12.5\%"), (r"50\text{ percent}", r"50\%"), ("50 percent", "50"),
    (r"0.5\%", "0.5"), (r"0.5\%", "0.005"), (r"1\;000", "1000"), (r"12\,345", "12345"), ("12{,}345", "12345"),
    ("12 345", "12345"), (r"1\,234.5", "1234.5"), ("1'000", "1000"), (r"\$1\,000", "1000"),
    ("1 000 000", "1,000,000"), ("1,000,000", "1000000"), ("1{,}000{,}000", "1000000"), ('10\xa0000', "10000"),
    ('10\u202f000', "10000"), (r"\rm 5", "5"), (r"{\bf 5}", "5"), (r"\mathrm{5}", "5"), (r"\bm{5}", "5"),
    (r"\boldsymbol{\frac12}", "0.5"), (r"\textsf{5}", "5"), (r"\text{ 5 }", "5"), (r"\underline{5}", "5"),
    (r"\color{red}{5}", "5"), (r"\textcolor{red}{5}", "5"), (r"\Large 5", "5"), (r"\large{5}", "5"),
    (r"\displaystyle \frac{1}{2}", "1/2"), (r"\textstyle 5", "5"), (r"\mathit{5}", "5"), (r"\texttt{5}", "5"),
    (r"\approx 5", "5"), (r"\approx5", "5"), ("≈5", "5"), (r"x\approx 5", "5"), ("=5", "5"), ("= 5", "5"),
    (r"\therefore 5", "5"), (r"\text{about }5", "5"), (r"x\approx3.14", "3.14"), ('\u200b5', "5"),
    ('5\u200b', "5"), ('\ufeff5', "5"), ('5\u2060', "5"), ('1\u200b0', "10"), ('\u200e5', "5"), ("—5", "-5"),
    ("‐5", "-5"), ("−5", "-5"), ("﹣5", "-5"), ("5–3", "2"), ("3×4", "12"), ("3·4", "12"), ("12÷4", "3"),
    ("3⋅4", "12"), ("3∗4", "12"), ("6∕2", "3"), (r"\text{(3, 4)}", "(3,4)"), (r"\text{3/4}", "0.75"),
    (r"\text{\$5}", "5"), (r"\text{5}", "5"), (r"\text{-5}", "-5"), (r"\mathrm{(1,2)}", "(1,2)"),
    (r"\text{Answer: }\frac12", "0.5"), ("Answer: 5", "5"), (r"\text{Final answer: }5", "5"),
    ("The answer is 5", "5"), (r"\text{Answer is }5", "5"), (r"\textbf{Answer: 5}", "5"),
    (r"\text{The final answer is } 5", "5"), (r"10\text{ m/s}", "10"), (r"10\ \mathrm{m/s}", "10"),
    ("60 km/h", "60"), (r"60\,\text{km/h}", "60"), ("9.8 m/s^2", "9.8"), (r"9.8\text{ m/s}^2", "9.8"),
    ("5 kg", "5"), (r"5\text{ kg}", "5"), ("12 square units", "12"), (r"12\text{ square units}", "12"),
    ("12 cm^2", "12"), (r"12\text{ cm}^2", "12"), ("12 cm²", "12"), ("5 hours", "5"), ("3 apples", "3"),
    ("12 red balls", "12"), (r"\$5", "5"), ("€5", "5"), ("5 dollars", "5"), (r"\$5.00", "5"), ("£5", "5"),
    (r"5\text{ dollars}", "5"), (r"\frac{1}{2}\text{ hour}", "0.5"), (r"25\text{ ways}", "25"),
    (r"10 \frac{\text{m}}{\text{s}}", "10"), ("7 units", "7"), ("100 mph", "100"), ("15 minutes", "15"),
    ("5 m", "5"), (r"10\text{ cm}", "10 cm"), (r"10 \text{ centimeters}", "10 cm"), (r"3\text{ L}", "3"),
    (r"1010_{\text{two}}", "1010_2"), ("52_{eight}", "52_8"), ("(52)_8", "52_8"),
    ("52_{8}", r"52_{\text{eight}}"), (r"\cos 60^\circ", "0.5"), (r"\sin(30^\circ)", "1/2"), ("sin 30°", "0.5"),
    (r"\tan 45^{\circ}", "1"), (r"\sin^2 30^\circ", "1/4"), (r"2\sin 30^\circ", "1"),
    (r"\cos(60°)", r"\frac12"), (r"e^{i \pi}", "-1"), ("i^2", "-1"), (r"e^{2\pi i}", "1"), ("(1+i)^2", "2i"),
    (r"\frac{1}{i}", "-i"), (r"e^{\pi i/2}", "i"), (r"\exp(2)", "e^2"), ("exp(2)", "e^2"), ("ln(e)", "1"),
    ("log(x)", r"\log x"), ("sin(x)", r"\sin x"), ("2pi", r"2\pi"), ("pi/4", r"\frac{\pi}{4}"),
    ("2*pi", r"2\pi"), ("infinity", r"\infty"), ("∞", r"\infty"), ("-∞", r"-\infty"), ("π", r"\pi"),
    ("3π/4", r"\frac{3\pi}{4}"), ("TRUE", "True"), (r"\text{True}", "true"), ("false", "False"),
    (r"\text{YES}", "Yes"), (r"\mathrm{Yes}", "yes"), ("no", "No"), (r"5\\ ", "5"), ("5 \\\\", "5"),
    (r"5\ ", "5"), ("5;", "5"), ("5,", "5"), ("5:", "5"), (r"\frac12.", "0.5"), ("x+1.", "x+1"), ("5。", "5"),
    ("(3,4).", "(3,4)"), ("５", "5"), ("１２", "12"), ("−１", "-1"), ("答案：5", "5"), ("答案是5", "5"),
    ("答案为 5", "5"),
    ("x＝5", "5"), ("（3，4）", "(3,4)"), ("1e5", "100000"), ("1E5", "100000"), ("2.5e-3", "0.0025"),
    ("1.2e-5", "0.000012"), (r"1.2\cdot 10^{-5}", "1.2e-5"), ("6.02e23", r"6.02\times 10^{23}"),
    ("10^5", "1e5"), ("1.5 × 10^3", "1500"), ("1.5×10³", "1500"), ("1.5*10^3", "1500"), ("2**3", "8"),
    ("x**2", "x^2"), ("3*x", "3x"), (r"\frac{1}{2}x", "x/2"), ("**5**", "5"), ("`5`", "5"), ("'5'", "5"),
    ("$$5$$", "5"), (r"\[5\]", "5"), ("x ≤ 3", r"x\le 3"), ("x ≥ 3", r"[3,\infty)"), ("[2, ∞)", r"[2,\infty)"),
    ("(−∞, −2) ∪ (2, ∞)", r"(-\infty,-2)\cup(2,\infty)"), ("x ∈ (1,2)", "(1,2)"), ("±3", "3,-3"),
    ("x=±3", "-3,3"), ("1 ± √2", r"1+\sqrt2,1-\sqrt2"), ("5 million", "5000000"),
    (r"5\text{ million}", "5{,}000{,}000"), ("1.5 billion", "1500000000"), (r"\$2 million", "2000000"),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5,3)"), ("(0.5, 0.333333)", r"(\frac12,\frac13)"),
    (r"\dfrac{1}{2}", "0.5"), (r"\frac{-1}{2}", r"-\frac12"), (r"-\frac{1}{2}", r"\frac{1}{-2}"),
    ("0.50", "1/2"), ("+3", "3"), ("3.0", "3"), ("{3}", "3"), ("ABCD", "ABCD"), (r"\text{ABCD}", "ABCD"),
    ("A, B, C, D", "ABCD"), ("EVELYN", "Evelyn"), ("New York", r"\text{New York}"), ("odd", r"\text{odd}"),
    ("Alice and Bob", "Bob and Alice"), ("Alice, Bob", "Alice and Bob"), ("south", r"\text{south}"),
    ("no solution", r"\text{No solution}"), ("isosceles", r"\text{isosceles}"),
    (r"\text{The answer is Evelyn}", "Evelyn"), ("Evelyn.", "Evelyn"), (r"\textbf{Evelyn}", "Evelyn"),
    (r"\mathrm{Evelyn}", "Evelyn"), ("up", r"\text{up}"), ("BA", "AB"), ("yx", "xy"), ("x", r"\text{x}"),
    (r"\text{right-angled}", "right angled"), ("undefined", r"\text{undefined}"), ("DNE", r"\text{DNE}"),
    (r"\pi", r"\text{pi}"), ("sin x", r"\sin x"), ("是", "是"), ("正确", "正确"), (r"\frac{1}{2^{98}}", "2^{-98}"),
    ("0.0000012", "1.2e-6"), (r"\frac{1}{30!}", r"\frac{30}{30\cdot30!}"),
    (r"1.6\times10^{-19}", r"1.60\times 10^{-19}"), ("e^{-50}", r"\frac{1}{e^{50}}"), ("0.00000001", "10^{-8}"),
    ("3.14159265", r"\pi"), ("3.141592", r"\pi"), ("2.71828183", "e"), ("0.333333", "1/3"),
    ("0.33333333", r"\frac{1}{3}"), ("0.666667", "2/3"), ("0.666666", "2/3"), ("1.414214", r"\sqrt2"),
    (r"\frac{99!}{100!}", "0.01"), ("2^{64}", "18446744073709551616"), ("0.1+0.2", "0.3"),
    ("0.999...", "1"), ("7.0000", "7"),
    (r"\begin{pmatrix}0.5\\1\end{pmatrix}", r"\begin{pmatrix}1/2\\1\end{pmatrix}"), ("1.5", "1.50"),
    (r"28\%", "0.28"), (r"\log_{10}2", "0.301030"), (r"\ln 2", "0.693147"),
    (r"\binom{50}{25}", "126410606437752"), ("2^{1/2}", "1.4142136"), (r"\frac{1+\sqrt5}{2}", "1.618034"),
    (r"\sqrt{2}+\sqrt3", r"\sqrt{5+2\sqrt6}"), ("(3,4)", "x=3,y=4"), ("(4,3)", "x=4,y=3"), ("x=3,y=4", "(3,4)"),
    ("y=4,x=3", "(3,4)"), ("y=4,x=3", "x=3,y=4"), ("(y,x)=(4,3)", "x=3,y=4"), ("(x,y)=(3,4)", "(3,4)"),
    (r"x=3\text{ and }y=4", "(3,4)"), (r"x = 3, \; y = 4", "x=3,y=4"), ("a=1,b=2,c=3", "(1,2,3)"),
    ("(1,2,3)", "a=1,b=2,c=3"), (r"x=\frac12,y=3", "(0.5,3)"), (r"\left(\frac12,3\right)", "x=0.5,y=3"),
    ("3, 4", "x=3,y=4"), ("x=3;y=4", "x=3,y=4"), ("x=1, x=2", "1,2"), ("x_1=1,x_2=2", "1,2"),
    ("x=1,y=1+1", "x=1,y=2"), (r"\textbf{(C)}\ 12", "C"), (r"\textbf{(C) }12", "C"), (r"\text{(C)}~12", "C"),
    (r"\mathrm{C}", "C"), (r"(C)\;12", "C"), (r"\textbf{(C)}\quad 12", "C"), (r"C\quad 12", "C"),
    (r"\text{Option (C)}", "C"), ("Option C", "C"), (r"\text{Answer: C}", "C"),
    (r"\text{The answer is C}", "C"), ("C)", "C"), ("(C) 12", "C"), ("C", "(C)"), ("C", "C) 12"),
    ("C", "(C) 12"), ("C. 12", "C"), ("C. 13", "C. 12"), (r"\mathbf{(C)}", "C"), (r"\boldsymbol{C}", "C"),
    (r"\texttt{C}", "C"), ("__C__", "C"), ("*C*", "C"), (r"\fbox{C}", "C"), (r"\text{choice (B)}", "B"),
    ("A and B", "A,B"), ("B, A", "A,B"), ("(A), (B)", "A, B"), ("A & B", "A,B"), ("B and D", "B,D"),
    ("BD", "B,D"), (r"\text{B, D}", "BD"), ("D. 5", "D"), (r"\text{D: 5}", "D"), ("E", "E"),
    (r"\text{(E) none of the above}", "E"), (r"\{C\}", "C"), ("$C$", "C"), (r"\text{C}.", "C"), ("(C).", "C"),
    (r"1-\frac{1}{\mathrm{e}}", "1-1/e"), (r"\mathrm{e}^2", "e^2"), (r"2\pi\mathrm{i}", r"2\pi i"), ("10^-3", "0.001"),
    (r"\binom52", "10"), (r"\langle 1,2\rangle", "(1,2)"), ("5=x", "5"), ("C>B>A", "A<B<C"), ("3>x>1", "(1,3)"),
    ("x<-1 or x>1", r"(-\infty,-1)\cup(1,\infty)"), (r"(-\infty,+\infty)", r"\mathbb{R}"),
    (r"\mathbb Z", r"\mathbb{Z}"),
    (r"x\in\mathbb{R}", r"\mathbb{R}"), (r"\text{all real numbers}", r"\mathbb{R}"), ("A C", "A,C"), ("10€", "10"),
    (r"10\text{ dollars}", r"\$10"), ("60 miles per hour", "60 mph"),
    (r"\frac12 a", "a/2"), ("5 a day", "5"), ("2:30 p.m.", "2:30 PM"), ("2:30", "2:30 PM"), ("14:30", "2:30 PM"),
    (r"8:30\text{ am}", r"8:30\text{ a.m.}"), ("8 PM", "8:00 p.m."), ("seventeen", "17"), (r"\text{five}", "5"),
    ("17", "seventeen"), ("1:2:3", "1 : 2 : 3"), ("2:4:6", "1:2:3"), ("2+3=5", "5"), (r"\frac13=0.33", "0.33"),
    (r"\frac12=50\%", "1/2"), (r"10 cm", r"\text{10 cm}"),
    ("[a, b, c)", "[a,b,c)"), (r"\text{July 4}", "July 4"),
]  # fmt: skip

WRONG = [
    ("1234.567", "1234.57"), ("3.14159", r"\pi"), (r"\frac{1}{23}", r"\frac{12}{3}"),
    ("DCBA", "ABCD"), ("nevelye", "Evelyn"), ("york new", "New York"), ("listen", "silent"),
    (r"\text{even}", "odd"), ("Alice", "Alice and Bob"), (r"\text{no solutions}", "no solution"),
    ("Tuesday", "Thursday"), ("red", "der"), ("NEWS", "NWES"), ("saw", "was"), ("god", "dog"), ("on", "no"),
    ("pu", r"\text{up}"), ("A", "B"), ("ABC", r"\triangle ABC"), (r"\cos x", r"\sin x"), ("否", "是"),
    ("1/2^{98}", "1/2^{99}"), ("0.0000012", "0.0000013"), ("1.0000001", "1.0000002"), ("1.0000001", "1"),
    (r"\frac{1}{30!}", r"\frac{1}{31!}"), (r"1.6\times10^{-19}", r"1.7\times10^{-19}"),
    (r"6.626\times10^{-34}", r"6.63\times10^{-34}"), ("e^{-50}", "e^{-51}"), (r"\pi^{-40}", r"\pi^{-41}"),
    ("10^{-30}", "0"), ("10^{-8}", "10^{-9}"), ("3.1416", r"\pi"), ("0.333", "1/3"), ("0.66667", "2/3"),
    ("1.41", r"\sqrt2"), ("100!", "101!"), ("2^{64}", "18446744073709551615"), ("2^{64}-1", "2^{64}"),
    ("10^{20}+1", "10^{20}"), ("1000000.0", "1000000.1"), ("123456.7", "123456.8"), ("0.999999", "1"),
    ("0.9", "1"), ("7.00001", "7"), (r"\sqrt{2}\cdot10^{-20}", r"\sqrt3\cdot10^{-20}"),
    ("10^{-20}x", r"2\cdot10^{-20}x"), ("(1.0000001,2)", "(1.0000002,2)"), (r"\{10^{-20}\}", r"\{10^{-21}\}"),
    ("[0,10^{-20}]", "[0,10^{-21}]"),
    (r"\begin{pmatrix}10^{-20}\\1\end{pmatrix}", r"\begin{pmatrix}10^{-21}\\1\end{pmatrix}"),
    ("x=10^{-20}", "x=10^{-21}"), (r"28\%", "2800"), ("28", "0.28"), ("10 km", "10 m"), ("5 kg", "5 g"),
    ("10 km/h", "10 m/s"), ("52_8", "52_9"), ("101_2", "101_3"), (r"5\text{ million}", "5"), (r"\ln 2", "0.69"),
    (r"\frac{22}{7}", r"\pi"), (r"\frac{355}{113}", r"\pi"), (r"\binom{50}{25}", "126410606437753"),
    ("2^{-100}", "2^{-101}"), (r"\frac{1}{1000001}", r"\frac{1}{1000002}"), (r"\frac{10^{12}+1}{10^{12}}", "1"),
    (r"\sin(10^{-10})", "10^{-10}"), (r"\sqrt{2}+\sqrt3", r"\sqrt{10}"), (r"3.14\pi", "9.8646"),
    ("(3,4)", "x=4,y=3"), ("(x,y)=(4,3)", "(3,4)"), ("a=1,b=3,c=2", "(1,2,3)"), ("(1,3,2)", "a=1,b=2,c=3"),
    ("4, 3", "x=3,y=4"), ("x=3 and y=4", "x=4,y=3"), ("p=2,q=5", "p=5,q=2"), ("(p,q)=(2,5)", "(5,2)"),
    ("option c", "C"), ("B", "C. 12"), ("A or B", "A"), ("(A) or (B)", "A"), ("A, B", "A"), ("A,B,C", "A,B"),
    ("A", "A,B"), ("B", "BD"), ("DB", "B,D"), ("a", "A"), ("A circle", "A"), ("I think", "I"), ("C = 5", "C"),
    ("C^2", "C"), ("1=2=3=4=5", "5"), ("4=5", "5"), ("2023=2024", "2024"), ("x=2=3", "3"), ("5.0=6.0", "6"),
    ("1:3:2", "1:2:3"), ("1:2", "1:2:3"), (r"10\,\text{km}", r"10\,\text{m}"), (r"10\ \text{cm}^3", r"10\,\text{cm}^2"),
    ("5 a", "5"), ("2:30 AM", "2:30 PM"), (r"8:30\text{ p.m.}", r"8:30\text{ a.m.}"), ("3:30 PM", "2:30 PM"),
    (r"\mathbb{N}", r"\mathbb{Z}"), ("x<1 or x>3", r"(-\infty,-1)\cup(3,\infty)"), ("x<1, x>3", "x<2, x>3"),
    ("A>B>C", "A<B<C"), ("six", "5"), (r"\mathrm{e}^2", "e^3"),
]  # fmt: skip


async def accepted(cases: Sequence[tuple[str, str]]) -> list[bool]:
    grader = MathGrader(timeout_s=10)
    items = [GradeItem("{" + answer + "}", (gold,), boxed_prefix=True) for answer, gold in cases]
    try:
        grades = await grader.grade(items)
    finally:
        await grader.close()
    assert Verdict.UNGRADED not in {grade.verdict for grade in grades}
    return [grade.verdict is Verdict.CORRECT for grade in grades]


async def test_an_answer_in_another_notation_is_right() -> None:
    assert [case for case, right in zip(RIGHT, await accepted(RIGHT), strict=True) if not right] == []


async def test_another_answer_is_wrong_however_near_it_is() -> None:
    assert [case for case, right in zip(WRONG, await accepted(WRONG), strict=True) if right] == []
