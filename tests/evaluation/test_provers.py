from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrt_reward.core.values import rollout_value
from mrt_reward.evaluation.prover_choice import recommend
from mrt_reward.evaluation.provers import PolicyValues, ProverMeasure, Scores, agreement, common_traces, measure
from mrt_reward.evaluation.result import Result
from mrt_reward.types import Usage, Verdict
from tests.evaluation.datasets.made import scored, value

GOOD, BAD = "Wait, good.\n\n", "Wait, bad.\n\n"


def pair(number: int, good: float, bad: float, *, start: float = 0.5, tokens: int = 100) -> list[Result]:
    """Two traces of one problem: one took the good step and was right, the other the bad one."""
    traces = [
        scored(f"{number}+", [GOOD], [start, good], problem=f"Q{number}"),
        scored(f"{number}-", [BAD], [start, bad], problem=f"Q{number}", outcome=0.0),
    ]
    return [
        replace(each, rescored=replace(each.scored, usage=Usage(computed_tokens=tokens, probes=2))) for each in traces
    ]


def scores(name: str, good: float, bad: float, *, num: int = 8, tokens: int = 100) -> Scores:
    return Scores(name, [trace for number in range(num) for trace in pair(number, good, bad, tokens=tokens)])


def test_a_prover_is_measured_by_how_it_tells_steps_apart_and_agrees_with_the_policy() -> None:
    # After the two steps 0.9 and 0.1: variance (ddof 1) 0.32. A^μ = ±0.4; by outcomes A^π = ±1, so ⟨A^μ, A^π⟩ = 0.4.
    got = measure(scores("m", 0.9, 0.1))
    assert got.distinguishes.value == pytest.approx(0.32)
    assert got.aligns.value == pytest.approx(0.4)
    assert got.bound.value == pytest.approx(0.72)
    # All problems are alike, so no resample differs.
    assert (got.bound.low, got.bound.high) == (pytest.approx(0.72), pytest.approx(0.72))
    assert (got.traces, got.tokens, got.waste, got.high_share) == (16, 100, 0, 0)


def test_sampled_policy_values_replace_outcomes() -> None:
    given = scores("m", 0.9, 0.1, num=1)
    keys = [list(trace.prefix_keys()) for trace in given.traces]
    # The policy itself: 0.5 before, 0.75 after the good step, and not known after the bad one: 0.4 · 0.25.
    policy: PolicyValues = {keys[0][0]: value(0.5), keys[0][1]: value(0.75)}
    assert measure(given, policy).aligns.value == pytest.approx(0.1)


def test_sampling_noise_is_no_distinction() -> None:
    """A prover that gives every step 0.5, sampled 8 times: the spread of its values is noise, and is subtracted."""
    rng = np.random.default_rng(0)
    traces: list[Result] = []
    for number in range(400):
        for step in range(4):
            right = int(rng.binomial(8, 0.5))
            after = rollout_value([Verdict.CORRECT] * right + [Verdict.INCORRECT] * (8 - right))
            traces.append(scored(f"{number}.{step}", [f"Wait, {step}.\n\n"], [0.5, after], problem=f"Q{number}"))
    got = measure(Scores("noise", traces))
    assert got.spread > 0.02
    assert got.distinguishes.value is not None
    assert got.distinguishes.low is not None
    assert got.distinguishes.high is not None
    assert got.distinguishes.low < 0 < got.distinguishes.high < 0.006


def test_steps_of_different_prefixes_are_not_compared() -> None:
    lone = Scores("m", [scored("a", [GOOD], [0.5, 0.9]), scored("b", [BAD], [0.5, 0.1], problem="Q")])
    got = measure(lone)
    assert (got.distinguishes.value, got.aligns.value, got.bound.value) == (None, None, None)
    assert recommend([got]).name is None


def test_only_traces_that_all_scored_at_the_same_cuts_are_compared() -> None:
    one, two = scores("one", 0.9, 0.1, num=2), scores("two", 0.8, 0.1, num=2)
    gap = scored("0-", [BAD], [0.5, None], problem="Q0")
    elsewhere = scored("1-", ["Wait,", " bad.\n\n"], [0.5, 0.5, 0.5], problem="Q1")
    changed = Scores("two", [two.traces[0], gap, two.traces[2], elsewhere])
    assert [[trace.trace.id for trace in each.traces] for each in common_traces([one, changed])] == [["0+", "1+"]] * 2
    with pytest.raises(ValueError, match="cut at the same offsets"):
        common_traces([one, Scores("none", [])])


def test_agreement_is_the_correlation_of_progress() -> None:
    one, two = scores("one", 0.9, 0.1), scores("two", 0.7, 0.3)
    assert agreement(one, two) == pytest.approx(1.0)
    assert agreement(one, scores("turned", 0.2, 0.8)) == pytest.approx(-1.0)
    assert agreement(one, scores("flat", 0.5, 0.5)) is None


def measured(name: str, good: float, bad: float, **more: int) -> ProverMeasure:
    return measure(scores(name, good, bad, **more))


def test_the_highest_bound_is_recommended_and_of_equals_the_cheapest() -> None:
    clear = recommend([measured("sharp", 0.9, 0.1), measured("dull", 0.6, 0.4)])
    assert clear.name == "sharp"
    assert "every other one is surely lower" in clear.reasons[0]
    equal = recommend([measured("dear", 0.9, 0.1, tokens=1000), measured("cheap", 0.9, 0.1, tokens=10)])
    assert equal.name == "cheap"
    assert "costs least, 10 tokens a trace" in equal.reasons[0]
    assert recommend([measured("alone", 0.9, 0.1)]).reasons[0] == "alone is the only one"


def test_what_a_cache_answered_is_no_reason_to_call_a_prover_cheap() -> None:
    dear = replace(measured("dear", 0.9, 0.1, tokens=1000), cached=0.5)
    known = replace(measured("known", 0.9, 0.1, tokens=0), cached=1.0)
    middle = measured("middle", 0.9, 0.1, tokens=1500)
    assert recommend([dear, known, middle]).name == "middle"
    assert "costs least, 2,000 tokens a trace" in recommend([dear, known]).reasons[0]
    assert "what they cost is not known" in recommend([known, replace(known, name="other")]).reasons[0]


def test_weak_strong_and_contrary_provers_are_named() -> None:
    weak, strong, contrary = measured("weak", 0.0, 0.0), measured("strong", 1.0, 1.0), measured("contrary", 0.1, 0.9)
    reported = recommend([replace(weak, low_share=0.9), replace(strong, high_share=0.9), contrary])
    assert reported.name != "contrary"
    assert any("weak is too weak" in reason for reason in reported.reasons)
    assert any("strong is too strong" in reason for reason in reported.reasons)
    assert any("contrary works against the policy" in reason for reason in reported.reasons)
    assert any("reaches 0" in reason for reason in reported.reasons)
    cached = recommend([replace(weak, cached=0.5)])
    assert any("understated" in reason for reason in cached.reasons)
