from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mrt_reward.graders.math import MathGrader, to_grade
from mrt_reward.graders.pool import Outcome, Reply
from mrt_reward.protocols import GradeItem, Grader
from mrt_reward.types import Grade, Verdict


@pytest.fixture
async def grader() -> AsyncIterator[MathGrader]:
    math = MathGrader(num_workers=2)
    yield math
    await math.close()


async def test_numbers_and_letters_need_no_worker(grader: MathGrader) -> None:
    cases = [
        ("{42}", ("42",), Verdict.CORRECT), ("{42}", ("43", "42.0"), Verdict.CORRECT),
        ("{1/2}", ("0.5",), Verdict.CORRECT),
        ("{41}", ("42",), Verdict.INCORRECT), ("{(b)}", ("B",), Verdict.CORRECT), ("{A}", ("B",), Verdict.INCORRECT),
        ("42", ("42",), Verdict.UNPARSED), ("{42", ("42",), Verdict.UNPARSED), ("{$ $}", (), Verdict.UNGRADED),
        ("{42}", (" ",), Verdict.UNGRADED), ("{x + y}", ("$x + y$",), Verdict.CORRECT),
        ("{" + "x+" * 2000 + "x}", ("y",), Verdict.UNPARSED),
    ]  # fmt: skip
    grades = await grader.grade([GradeItem(text, golds, boxed_prefix=True) for text, golds, _ in cases])
    assert [grade.verdict for grade in grades] == [verdict for *_, verdict in cases]
    assert grader.pool.pids == ()


async def test_mathematics_and_prose_are_judged_in_workers_in_order(grader: MathGrader) -> None:
    cases = [
        (r"so \boxed{2+x}", ("x+2",), Verdict.CORRECT), (r"so \boxed{3+x}", ("x+2",), Verdict.INCORRECT),
        ("The final answer is $x+2$.", ("2+x",), Verdict.CORRECT), ("no idea at all", ("2+x",), Verdict.UNPARSED),
        (r"\boxed{e}", ("e",), Verdict.CORRECT), (r"\boxed{2.718281828}", ("e",), Verdict.CORRECT),
        (r"\boxed{i}", ("I",), Verdict.INCORRECT), (r"\boxed{-2i}", ("-i-i",), Verdict.CORRECT),
        (r"\boxed{0.333333}", ("1/3",), Verdict.CORRECT), ("The answer is (C).", ("C",), Verdict.CORRECT),
        ("I like all of them", ("C",), Verdict.UNPARSED), (r"\boxed{1<x<2}", ("(1,2)",), Verdict.CORRECT),
        (r"<think>\boxed{x+2}</think> \boxed{x+3}", ("2+x",), Verdict.INCORRECT),
        (r"so \boxed{2+x}", ("x+2",), Verdict.CORRECT), (r"\boxed{2+x}", ("7", "x+2"), Verdict.CORRECT),
    ]  # fmt: skip
    grades = await grader.grade([GradeItem(text, golds) for text, golds, _ in cases])
    assert [grade.verdict for grade in grades] == [verdict for *_, verdict in cases]


async def test_an_answer_that_hangs_is_a_miss_and_a_gold_that_hangs_is_ours(grader: MathGrader) -> None:
    grades = await grader.grade(
        [
            GradeItem("{9^{9^{9^{9}}}}", ("7",), boxed_prefix=True),
            GradeItem("{x+1}", ("9^{9^{9^{9}}}",), boxed_prefix=True),
            GradeItem("{x+1}", ("1+x",), boxed_prefix=True),
        ]
    )
    assert grades[0] == Grade(Verdict.UNPARSED, reason="timeout")
    assert grades[1].verdict is Verdict.UNGRADED
    assert grades[2] == Grade(Verdict.CORRECT)


async def test_its_identity_names_what_can_change_a_verdict() -> None:
    first: Grader = MathGrader()
    second = MathGrader(timeout_s=0.5)
    assert "math-verify=" in first.identity
    assert "sympy=" in first.identity
    assert first.identity != second.identity
    assert (first.needs_answer, first.binary) == (True, True)
    await first.close()
    await second.close()


def test_only_what_the_answer_did_is_a_miss() -> None:
    assert to_grade(Reply(Outcome.KILLED, reason="memory")) == Grade(Verdict.UNPARSED, reason="memory")
    assert to_grade(Reply(Outcome.FAILED, reason="x")) == Grade(Verdict.UNGRADED, reason="x")
    assert to_grade(Reply(Outcome.JUDGED, {"verdict": "correct"})) == Grade(Verdict.CORRECT)
