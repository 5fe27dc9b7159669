"""The trace that self-checks prove, and what they make of its answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrt_reward.protocols import LikelihoodQuery, Probe, ProbeAnswer, Proof, SpellingIds
from mrt_reward.protocols.canary import (
    canary_proof,
    needed_tokens,
    rounding,
    sharing_remedy,
    tolerance,
    worst_difference,
)
from mrt_reward.provers.scripted import ScriptedTokenizer

TOKENIZER = ScriptedTokenizer()


def answer(*logprobs: float) -> ProbeAnswer:
    return ProbeAnswer(logprobs)


@pytest.mark.parametrize("num_tokens", [1, 2, 40, 517])
def test_a_canary_has_several_cuts_and_ends_at_its_longest(num_tokens: int) -> None:
    proof = canary_proof(TOKENIZER, num_tokens, 4096)
    cuts = [probe.cut for probe in proof.probes]
    assert cuts == sorted(set(cuts))
    assert cuts[-1] == len(proof.token_ids) == num_tokens
    assert min(cuts) >= 1
    assert len(cuts) == (4 if num_tokens >= 40 else num_tokens)


def test_a_canary_is_shortened_to_fit_the_context() -> None:
    proof = canary_proof(TOKENIZER, 1000, 100)
    proof.check_fits(100, runs_close=True)
    assert len(proof.token_ids) > 50


def test_needed_tokens_count_common_beginnings_once() -> None:
    spellings = (SpellingIds((7, 8, 9), (1,)), SpellingIds((7, 8), (1,)), SpellingIds((12,), (1,)))
    probes = (Probe(3, (1, 2)), Probe(10, (1, 2, 3)))
    proof = Proof(np.arange(10, dtype=np.int32), probes, LikelihoodQuery(spellings))
    # 10 of the trace, 2 + 3 of the suffixes, and 7, 7 8, 7 8 9 and 12 after each of the two.
    assert needed_tokens(proof) == 10 + 5 + 2 * 4
    # The longest spelling and its close are 4 tokens, whose errors grow by the root.
    assert rounding(proof, "float32") == 2 * tolerance("float32")


def test_the_worst_difference_is_infinite_where_one_is_no_number() -> None:
    assert worst_difference([answer(-1.0, -2.0)], [answer(-1.0, -2.5)]) == 0.5
    assert worst_difference([answer(-math.inf)], [answer(-math.inf)]) == 0.0
    assert worst_difference([answer(math.nan)], [answer(-1.0)]) == math.inf
    assert worst_difference([answer(-math.inf)], [answer(-1.0)]) == math.inf


def test_rounding_hangs_on_the_precision() -> None:
    assert tolerance("float32") < tolerance("float16") < tolerance("bfloat16") == tolerance("")


def test_a_remedy_is_named_where_prefixes_share_too_little() -> None:
    assert sharing_remedy("vllm", None) == sharing_remedy("vllm", 1.5) == ""
    assert "prefix_cache_retention_interval" in sharing_remedy("vllm", 1.51)
    assert sharing_remedy("transformers", 2.0)
