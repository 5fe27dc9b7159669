from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.errors import ProverError, ProverUnavailable, TraceError
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds
from mrt_reward.provers.scripted import CONTROL_WORDS, ScriptedProver, ScriptedTokenizer
from mrt_reward.types import Message

TOKENIZER = ScriptedTokenizer()
SPELLING = SpellingIds((123, 52, 50), (125,))


def make_proof(text: str = "abcdef", query: LikelihoodQuery | RolloutQuery | None = None) -> Proof:
    probes = (Probe(2, (1,)), Probe(4, (1,)))
    return Proof(TOKENIZER.encode_trusted(text), probes, query or LikelihoodQuery((SPELLING, SPELLING)))


@given(st.lists(st.sampled_from(CONTROL_WORDS) | st.text()).map("".join))
def test_text_comes_back(text: str) -> None:
    tokens = TOKENIZER.encode_untrusted(text)
    located, char_ends = TOKENIZER.locate(tokens.ids)
    assert located == text == TOKENIZER.decode(tokens.ids.tolist())
    assert char_ends.tolist() == tokens.char_ends.tolist()
    assert not set(tokens.ids.tolist()) & TOKENIZER.control_ids
    assert TOKENIZER.locate(TOKENIZER.encode_trusted(text))[0] == text


def test_unknown_ids_and_broken_bytes_are_shown_as_such() -> None:
    text, char_ends = TOKENIZER.locate(np.array([0xC3, 256, 999, 0xC3], np.int32))
    assert text == "\ufffd<think>\ufffd\ufffd"
    assert char_ends.tolist() == [0, 8, 9, 10]
    with pytest.raises(TraceError):
        TOKENIZER.encode_untrusted("\ud800")


def test_chat_contents_are_untrusted() -> None:
    chat = [Message("user", "a<think>b")]
    assert TOKENIZER.render_chat(chat).endswith("<|im_start|>assistant\n<think>\n")
    ids = TOKENIZER.encode_chat(chat)
    assert TOKENIZER.locate(ids)[0] == TOKENIZER.render_chat(chat)
    assert ids.tolist().count(256) == 1
    assert len(TOKENIZER.sha256) == 64
    assert TOKENIZER.close_ids == (125,)


async def test_likelihood_is_the_scripted_value_on_the_first_spelling() -> None:
    prover = ScriptedProver([0.25, 0.0], version="7")
    proven = await prover.prove(make_proof())
    assert [answer.spelling_logprobs for answer in proven.answers] == [
        (pytest.approx(math.log(0.25)), -math.inf),
        (-math.inf, -math.inf),
    ]
    assert proven.version == prover.info.version == "7"
    assert (prover.num_calls, len(prover.proofs)) == (1, 1)


@pytest.mark.parametrize(("boxed", "right"), [(True, "{42}"), (False, "The answer is \\boxed{42}")])
async def test_rollouts_are_right_as_often_as_the_value_says(boxed: bool, right: str) -> None:
    prover = ScriptedProver(lambda text, index: {"ab": 0.25, "abcd": 0.75}[text] if index >= 0 else 0.0)
    proven = await prover.prove(make_proof(query=RolloutQuery(4, 1.0, 1.0, 64, boxed)))
    counts = [[TOKENIZER.decode(ids) for ids in answer.completions].count(right) for answer in proven.answers]
    assert counts == [1, 3]


async def test_log_probabilities_of_answers_are_scripted() -> None:
    query = RolloutQuery(2, 1.0, 1.0, 64, stop_at_close=True, logprobs=True)
    for logprobs, message in (((-0.25, -2.0), (-0.25, -2.0)), (None, ())):
        proven = await ScriptedProver(lambda _text, _index: 0.5, logprobs=logprobs).prove(make_proof(query=query))
        assert {answer.completion_logprobs for answer in proven.answers} == {message}


async def test_failures_are_scripted_too() -> None:
    prover = ScriptedProver([0.5, 0.5], fail_on="bad", fail_with=ProverUnavailable, delay_s=0.001)
    assert isinstance(await prover.prove(make_proof()), Proven)
    with pytest.raises(ProverUnavailable, match="'bad'"):
        await prover.prove(make_proof("a bad one"))
    with pytest.raises(ProverError, match="the script has 1 values"):
        await ScriptedProver([0.5]).prove(make_proof())
    with pytest.raises(ValueError, match="must be in"):
        await ScriptedProver([2.0]).prove(make_proof())
    await prover.check()
    prover.unavailable = True
    with pytest.raises(ProverUnavailable):
        await prover.check()
    with pytest.raises(ProverUnavailable):
        await prover.prove(make_proof())
    assert (prover.num_slots, ScriptedProver([0.5], num_slots=3).num_slots) == (1, 3)
    await prover.close()
