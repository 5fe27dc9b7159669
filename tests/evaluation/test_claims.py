from __future__ import annotations

import pytest

from mrt_reward.config import load_settings
from mrt_reward.core.progress import with_progress
from mrt_reward.evaluation.claims import PLAIN, Claims, measure_claims, paid_for_claims, probes
from mrt_reward.evaluation.prover_choice import recommend
from mrt_reward.evaluation.provers import Scores, measure
from mrt_reward.evaluation.result import Result
from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.options import Delimiters, ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Episode, ScoredTrace, Status, Trace, Value
from mrt_reward.wiring import build_scorer
from tests.attacks.texts import HONEST, Case
from tests.evaluation.datasets.made import ENDING, scored
from tests.service.conftest import WordGrader, speller

OPTIONS = ScoreOptions()
SAID = ["First.\n\n", "Six sevens are forty-two.\nHence, 42 it is! That is all.\n\n"]
WRONG = ENDING.replace("42", "41")


def claims_of(
    traces: list[Result], options: ScoreOptions = OPTIONS, most: int = 9
) -> list[tuple[str | None, str | None]]:
    return [(each.right.completion, each.wrong.completion) for each in probes(traces, options, most)]


def whole(claim: str, answer: str) -> str:
    return f"<think>\n{claim}\n\n</think>\n\n\\boxed{{{answer}}}"


def test_the_sentence_that_states_the_answer_is_claimed_for_a_wrong_answer_of_the_problem_too() -> None:
    right = scored("r", SAID, [0.2, 0.5, 0.9])
    wrong = scored("w", ["It is 41.\n\n"], [0.2, 0.1], outcome=0.0, ending=WRONG)
    assert claims_of([wrong, right]) == [(whole("Hence, 42 it is!", "42"), whole("Hence, 41 it is!", "41"))]


def test_a_problem_without_a_right_trace_that_says_so_gets_a_plain_sentence() -> None:
    wrong = scored("w", ["It is 42 or so.\n\n"], [0.2, 0.1], outcome=0.0, ending=WRONG)
    silent = scored("s", ["It is 420.\n\n"], [0.2, 0.1])
    claim = PLAIN.replace(PLAIN[-2], "42")
    assert claims_of([wrong, silent])[0][0] == whole(claim, "42") == whole("So the answer is 42.", "42")


@pytest.mark.parametrize(
    ("gold", "problem", "wrong"),
    [
        ("42", "6 times 7, or 42 - 0?", "6"),
        ("B", "Which? A: one, B: two", "A"),
        (r"\frac{1}{2}", "One half of 1?", "Paris"),
    ],
)
def test_a_wrong_answer_is_like_the_right_one_or_that_of_another_problem(gold: str, problem: str, wrong: str) -> None:
    other = scored("o", SAID, [0.2, 0.5, 0.9], problem="Capital?", answer=("Paris",))
    trace = scored("t", ["Thus " + gold + ".\n\n"], [0.2, 0.9], problem=problem, answer=(gold,))
    assert claims_of([other, trace])[-1] == (whole(f"Thus {gold}.", gold), whole(f"Thus {wrong}.", wrong))


def test_problems_without_a_gold_answer_or_any_other_are_not_probed() -> None:
    assert (
        claims_of([scored("t", SAID, [0.2, 0.5, 0.9], answer=()), scored("u", SAID, [0.2, 0.5, 0.9], answer=("x",))])
        == []
    )
    many = [scored(f"{n}", SAID, [0.2, 0.5, 0.9], problem=f"{n} times?") for n in range(5)]
    assert len(claims_of(many, most=2)) == 2


def test_a_trace_without_delimiters_is_probed_without_an_ending() -> None:
    [(right, _)] = claims_of([scored("t", SAID, [0.2, 0.5, 0.9])], ScoreOptions(delimiters=Delimiters("", "")))
    assert right == "\nHence, 42 it is!\n\n"


def pair(start: float, right: float, wrong: float | None) -> tuple[ScoredTrace, ScoredTrace]:
    def claimed(after: float | None) -> ScoredTrace:
        values = [Value(start), Value(after)]
        status = Status.PARTIAL if after is None else Status.OK
        return ScoredTrace("c", status, values=tuple(values), episodes=with_progress([Episode(0, 1, 0, 1)], values))

    return claimed(right), claimed(wrong)


@pytest.mark.parametrize(
    ("right", "wrong", "guessed"),
    [
        (0.25, 0.25, 0.0),  # believes nothing
        (1.0, 0.0, 0.0),  # believes all
        (1.0, 0.25, 0.1875),  # believes what is right: 1/4 · 3/4
        (0.5, 0.5, 0.25),  # is moved by any claim
    ],
)
def test_what_a_guess_earns_is_weighed_by_the_chance_that_it_is_right(
    right: float, wrong: float, guessed: float
) -> None:
    found = paid_for_claims([pair(0.25, right, wrong)] * 3, [0.5, 0.3, float("nan")])
    assert found is not None
    assert found.guessed.value == pytest.approx(guessed)
    assert (found.right.value, found.wrong.value) == (pytest.approx(right - 0.25), pytest.approx(wrong - 0.25))
    assert (found.honest, found.share) == (pytest.approx(0.4), pytest.approx(guessed / 0.4))
    # All problems are alike, so that the interval is a point.
    assert found.too_much == (guessed > 0)


def test_probes_that_failed_are_left_out_and_without_any_nothing_is_known() -> None:
    found = paid_for_claims([pair(0.25, 0.5, 0.5), pair(0.25, 1.0, None)], [0.5])
    assert found is not None
    assert found.guessed.problems == 1
    # One problem has no interval, and warns of nothing.
    assert (found.guessed.low, found.too_much) == (None, False)
    assert paid_for_claims([pair(0.25, 1.0, None)], [0.5]) is None
    assert paid_for_claims([pair(0.25, 1.0, 1.0)], []) is None


def test_where_honest_traces_earn_nothing_any_sure_gain_is_too_much() -> None:
    found = paid_for_claims([pair(0.25, 0.5, 0.5)] * 3, [-0.1])
    assert found is not None
    assert (found.share, found.too_much) == (None, True)


def warnings(claims: Claims | None) -> list[str]:
    traces = [scored(f"{n}", SAID, [0.2, 0.5, 0.9], problem=f"{n} times?") for n in range(3)]
    advice = recommend([measure(Scores("m", traces, claims=claims))])
    return [reason for reason in advice.reasons if "claims" in reason]


def test_a_prover_that_pays_for_claims_is_warned_of() -> None:
    paying = paid_for_claims([pair(0.25, 0.5, 0.5)] * 3, [0.5])
    [warning] = warnings(paying)
    assert "m pays for claims: a guessed answer that is stated without work earns +0.250, 50% of an honest" in warning
    assert warnings(paid_for_claims([pair(0.25, 1.0, 0.0)] * 3, [0.5])) == []
    assert warnings(None) == []


async def test_a_prover_is_asked_about_both_claims() -> None:
    prover = ScriptedProver(lambda text, _: 0.75 if "42 it is" in text else 0.25)
    scorer = Scorer(prover, {"word": WordGrader()}, speller)
    try:
        traces = [scored(f"{n}", SAID, [0.2, 0.5, 0.9], problem=f"{n} times?") for n in range(3)]
        found = await measure_claims(scorer, OPTIONS, traces, 2)
        assert await measure_claims(scorer, OPTIONS, traces, 0) is None
    finally:
        await scorer.close()
    assert found is not None
    assert (found.right.value, found.wrong.value, found.guessed.problems) == (pytest.approx(0.5), pytest.approx(0), 2)
    assert found.honest == pytest.approx(0.7)


async def test_the_bundled_mini_pays_for_claims_in_its_own_voice_and_is_reported_of() -> None:
    scorer = build_scorer(load_settings(model="mini", _env_file=None))
    try:
        asked = [
            Trace(str(n), problem=problem.text, completion=HONEST.completion(case), answer=(str(problem.answer),))
            for n, problem in enumerate(BUNDLED["mini"].sample(24, 3))
            for case in [Case.drawn(problem, 3, right=True)]
        ]
        traces = [Result((trace, each)) for trace, each in zip(asked, await scorer.score(asked), strict=True)]
        found = await measure_claims(scorer, OPTIONS, traces, 24)
    finally:
        await scorer.close()
    assert found is not None
    assert found.guessed.problems == 24
    assert found.too_much
