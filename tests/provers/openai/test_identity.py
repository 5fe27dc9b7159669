"""Whether two endpoints serve one model, with log-probabilities set by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mrt_reward.protocols import ProbeAnswer
from mrt_reward.provers.openai.identity import Identity, identity_limit, known_trace
from mrt_reward.provers.openai.speaking import LikelihoodWay
from mrt_reward.provers.tokenizer import HFTokenizer

CANARY = (ProbeAnswer(spelling_logprobs=(-2.0,)), ProbeAnswer(spelling_logprobs=(-3.0,)))
ONE = Identity("m", LikelihoodWay.TAIL, (1, 2), CANARY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"token_ids": None}, ""),
        ({"model": "n"}, "model 'n', not 'm'"),
        ({"way": LikelihoodWay.ECHO}, "likelihoods are read by echo, not by tail, which differ a little"),
        ({"token_ids": (1, 3)}, "its tokenizer gives other ids for one text"),
    ],
)
def test_a_model_is_another_by_name_protocol_or_tokenizer(changes: dict[str, Any], message: str) -> None:
    other = replace(ONE, **changes)
    assert ONE.other_kind(other) == ONE.difference(other, 0.1) == message


@pytest.mark.parametrize(("logprob", "same"), [(-3.05, True), (-2.95, True), (-3.5, False), (math.nan, False)])
def test_weights_are_others_where_a_known_answer_is_further_away_than_rounding(logprob: float, same: bool) -> None:
    other = replace(ONE, canary=(CANARY[0], ProbeAnswer(spelling_logprobs=(logprob,))))
    assert ONE.other_kind(other) == ""
    assert (ONE.difference(other, 0.1) == "") is same


def test_endpoints_that_tell_no_likelihoods_are_compared_by_the_rest() -> None:
    silent = Identity("m", LikelihoodWay.NONE, (1, 2), ())
    assert silent.difference(silent, 0.1) == ""


def test_the_known_trace_is_one_for_every_endpoint_and_its_limit_follows_the_precision(tokenizer: HFTokenizer) -> None:
    one, other = known_trace(tokenizer), known_trace(tokenizer)
    assert one.token_ids.tolist() == other.token_ids.tolist()
    assert (one.query, one.probes) == (other.query, other.probes)
    assert identity_limit(tokenizer, "float32") < identity_limit(tokenizer, "auto")
