from __future__ import annotations

import pytest

from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.mini.template import boxed_answer
from mrt_reward.mini.truth import checked_candidates
from tests.attacks.texts import ATTACKS, HONEST, KNOWING, Attack, Case

PROBLEM = BUNDLED["mini"].sample(1, 3)[0]
CHARTED = BUNDLED["mini-deep"].sample(1, 3)[0]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.name)
@pytest.mark.parametrize("problem", [PROBLEM, CHARTED], ids=["mini", "mini-deep"])
def test_an_attack_reveals_nothing_and_answers_what_it_names(attack: Attack, problem: object) -> None:
    assert problem in (PROBLEM, CHARTED)
    asked = PROBLEM if problem == PROBLEM else CHARTED
    for right in (True, False):
        case = Case.drawn(asked, 1, right=right)
        text = attack.completion(case)
        assert checked_candidates(asked, text.removeprefix("<think>\n")) == frozenset()
        assert boxed_answer(text) == case.named
        assert (case.named == asked.answer) == right
        assert set(case.others) | {case.named} == set(asked.candidates)


def test_an_honest_search_reveals_and_a_claim_of_the_right_one_does_not() -> None:
    case = Case.drawn(PROBLEM, 1, right=True)
    assert checked_candidates(PROBLEM, HONEST.completion(case).removeprefix("<think>\n"))
    assert not checked_candidates(PROBLEM, KNOWING.completion(case))


def test_names_are_unique_and_texts_are_the_same_each_time() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        first, again = (attack.completion(Case.drawn(CHARTED, 1, right=False)) for _ in range(2))
        assert first == again
