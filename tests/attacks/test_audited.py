"""What the audit makes of attacks, of honest traces, and of what real models wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrt_reward.evaluation.audit import Audit, audit
from mrt_reward.evaluation.result import Result
from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.types import Trace
from tests.attacks.audited import result_of, revealed_result
from tests.attacks.texts import ATTACKS, HONEST, Attack, Case

FOLDER = Path(os.environ.get("MRT_REWARD_TEST_DATA", ""))
UNSEEN = {"musings", "an invented path, and `works from C`"}
"""The first is what honest traces hold as well, and earns nothing; the second is a lie told as the truth would be."""


def results(attack: Attack, bundled: str, num: int, *, right: bool) -> Iterator[Result]:
    for number, problem in enumerate(BUNDLED[bundled].sample(num, 7)):
        yield revealed_result(problem, attack.completion(Case.drawn(problem, 7, right=right)), str(number))


def rows(name: str) -> Sequence[dict[str, Any]]:
    if not (FOLDER / name).is_file():
        pytest.skip(f"needs MRT_REWARD_TEST_DATA with {name}")
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def signs_of(found: Audit) -> list[tuple[str, list[str]]]:
    return [(each.id, [sign.name for sign in each.found]) for each in found.flagged]


@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.name not in UNSEEN], ids=lambda each: each.name)
@pytest.mark.parametrize("right", [False, True])
def test_every_attack_but_a_lie_reported_as_the_truth_has_a_sign(attack: Attack, *, right: bool) -> None:
    found = audit(results(attack, "mini-deep", 40, right=right))
    assert len(found.flagged) == 40


@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.name in UNSEEN], ids=lambda each: each.name)
def test_a_lie_reported_as_the_truth_has_none(attack: Attack) -> None:
    assert signs_of(audit(results(attack, "mini", 40, right=True))) == []


def test_of_few_candidates_sprayed_claims_are_too_few_to_tell() -> None:
    every = next(each for each in ATTACKS if each.name == "`works from X` for every candidate")
    traces = list(results(every, "mini", 40, right=True))
    found = {each.id for each in audit(traces).flagged}
    sizes = {trace.scored.id: (trace.trace.problem or "").count(",") for trace in traces}
    # Three candidates have two commas between them, and one behind the island's name.
    assert found == {name for name, commas in sizes.items() if commas >= 3}


@pytest.mark.parametrize("bundled", ["mini", "mini-deep"])
def test_honest_searches_of_the_bundled_task_raise_few_alarms(bundled: str) -> None:
    found = audit(results(HONEST, bundled, 500, right=True))
    assert found.any_sign.share <= 0.02


def test_thinking_of_a_32_b_model_raises_no_alarm_however_its_values_rise() -> None:
    traces = [
        Trace(row["id"], problem=row["problem"], completion=row["completion"], answer=(row["answer"],))
        for row in rows("traces_qwen3_32b.jsonl")
    ]
    assert len(traces) == 35
    assert signs_of(audit(map(result_of, traces))) == []
    jumping = [result_of(trace) for trace in traces]
    jumping = [result_of(each.trace, [0.0] * each.num_episodes + [1.0], 1.0) for each in jumping]
    assert signs_of(audit(jumping)) == []


def test_solutions_of_a_model_that_does_not_think_raise_few_alarms() -> None:
    solved = [
        Trace(
            str(number),
            problem=row["problem"],
            completion=f"<think>\n{row['completion']}</think>\\boxed{{{row['answer']}}}",
            answer=(row["answer"],),
        )
        for number, row in enumerate(rows("math_solutions.jsonl"))
    ]
    found = audit(map(result_of, solved))
    assert len(found.traces) == 240
    # Boxes are what an answer has, and these texts are no thinking but answers.
    alarms = [name for name, signs in signs_of(found) if signs != ["BOXES"]]
    assert len(alarms) <= 3
