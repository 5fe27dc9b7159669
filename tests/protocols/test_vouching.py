from __future__ import annotations

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from mrt_reward.errors import WeightsError
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, SpellingIds, WeightsCanary

CANARY = WeightsCanary((5, 6, 7), (8, 9, 10, 11), -4.0, "float32")


def test_the_question_is_the_whole_answer_after_the_whole_prompt() -> None:
    proof = CANARY.proof
    [probe] = proof.probes
    assert [*proof.token_ids[: probe.cut].tolist(), *probe.suffix] == [5, 6, 7]
    assert proof.query == LikelihoodQuery((SpellingIds((8, 9, 10), (11,)),))


@pytest.mark.parametrize(
    ("logprob", "ours", "theirs", "agrees"),
    [
        # Four tokens: twice the rounding of one, which is 0.001 in single precision and 0.25 in bfloat16.
        (-4.001, "float32", "float32", True),
        (-4.003, "float32", "float32", False),
        (-4.4, "float32", "bfloat16", True),
        (-4.4, "bfloat16", "float32", True),
        (-4.6, "bfloat16", "bfloat16", False),
        (math.nan, "bfloat16", "bfloat16", False),
    ],
)
def test_rounding_is_that_of_the_coarser_precision_and_more_is_refused(
    logprob: float, ours: str, theirs: str, agrees: bool
) -> None:
    canary = TypeAdapter(WeightsCanary).validate_python(
        {"prompt_ids": [5, 6], "answer_ids": [8, 9, 10, 11], "logprob": -4.0, "precision": theirs}
    )
    answers = [ProbeAnswer(spelling_logprobs=(logprob,))]
    if agrees:
        canary.refuse_others(answers, ours)
        return
    with pytest.raises(WeightsError, match=r"not the weights that the sender has") as refused:
        canary.refuse_others(answers, ours)
    assert (refused.value.code, refused.value.param) == ("canary_differs", "canary")


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_ids": [5]},
        {"answer_ids": [8]},
        {"answer_ids": [8, -1]},
        {"logprob": 0.5},
        {"logprob": math.nan},
        {"logprob": -math.inf},
        {"precision": "int8"},
        {"log_prob": -1.0},
    ],
)
def test_what_is_no_canary_is_refused(changes: dict[str, object]) -> None:
    whole = {"prompt_ids": [5, 6], "answer_ids": [8, 9], "logprob": -4.0}
    assert TypeAdapter(WeightsCanary).validate_python(whole).precision == "bfloat16"
    with pytest.raises(ValidationError):
        TypeAdapter(WeightsCanary).validate_python({**whole, **changes})
