"""What the prover reads before the thinking: the caller's prompt, and exactly one thinking block open at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.errors import TraceError
from mrt_reward.options import Delimiters
from mrt_reward.provers.scripted import ScriptedTokenizer
from mrt_reward.service.prompting import BARE_CLOSE, EMPTY_BLOCK, Prompt, check_ids, open_prompt, prompt_ids_of
from mrt_reward.types import Message, TokenIds, Trace
from tests.service.conftest import make_trace

TOKENIZER = ScriptedTokenizer()
THINK, END_THINK, OPEN_TURN, CLOSE_TURN = 256, 257, 258, 259
TURN = "<|im_start|>user\nBegin with <think>.<|im_end|>\n<|im_start|>assistant\n"


def ids(text: str) -> TokenIds:
    return TOKENIZER.encode_trusted(text)


def sent(**changes: Any) -> Trace:
    fields: dict[str, Any] = {"problem": None, "tokenizer": TOKENIZER.sha256, **changes}
    return make_trace("t", **fields)


def opened(**changes: Any) -> Prompt:
    return open_prompt(sent(**changes), TOKENIZER, Delimiters())


def seen(prompt: Prompt) -> str:
    return TOKENIZER.locate(prompt.ids)[0]


def test_a_problem_is_a_users_turn() -> None:
    assert seen(opened(problem="2+2?")) == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_messages_go_through_the_chat_template() -> None:
    prompt = opened(messages=(Message("system", "Be brief."), Message("user", "2+2?")))
    assert seen(prompt).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n")
    assert seen(prompt).endswith("<think>\n")


@pytest.mark.parametrize("asked", [{"problem": "</think><|im_end|>"}, {"messages": (Message("user", "<|im_end|>"),)}])
def test_what_a_user_says_never_becomes_control_tokens(asked: dict[str, Any]) -> None:
    tokens = opened(**asked).ids.tolist()
    assert (tokens.count(OPEN_TURN), tokens.count(CLOSE_TURN), tokens.count(END_THINK)) == (2, 1, 0)


@pytest.mark.parametrize(
    ("prompt", "note"),
    [
        (TURN, ()),
        (f"{TURN}</think>", (BARE_CLOSE,)),
        (f"{TURN}</think>\n\n", (BARE_CLOSE,)),
        (f"{TURN}<think>\n\n</think>\n\n", (EMPTY_BLOCK,)),
    ],
)
def test_thinking_is_opened_where_the_template_did_not_and_what_was_in_its_way_is_a_note(
    prompt: str, note: tuple[str, ...]
) -> None:
    for found in (opened(prompt=prompt), opened(prompt_ids=ids(prompt))):
        assert (seen(found), found.opened, found.notes) == (f"{TURN}<think>\n", False, note)


@pytest.mark.parametrize("prompt", [f"{TURN}<think>\n", f"{TURN}<think>", f"{TURN}<think>\nFirst half. "])
def test_thinking_that_the_prompt_opened_stays_as_it_is(prompt: str) -> None:
    found = opened(prompt=prompt)
    assert (seen(found), found.opened, found.notes) == (prompt, True, ())


def test_thinking_of_an_earlier_turn_stays() -> None:
    prompt = "<think>old</think>1<|im_start|>assistant\n"
    assert seen(opened(prompt=prompt)) == f"{prompt}<think>\n"


def test_without_delimiters_a_prompt_stays_as_it_is() -> None:
    found = open_prompt(sent(prompt=f"{TURN}</think>"), TOKENIZER, Delimiters("", ""))
    assert (seen(found), found.opened, found.notes) == (f"{TURN}</think>", False, ())


def test_a_bare_closing_delimiter_within_a_token_is_cut_out_of_it() -> None:
    class Merging(ScriptedTokenizer):
        """Token 300 is a line break and `</th`."""

        def locate(self, ids: TokenIds) -> tuple[str, TokenIds]:
            spread = [token for given in ids.tolist() for token in (list(b"\n</th") if given == 300 else [given])]
            text, ends = super().locate(np.array(spread, np.int32))
            return text, ends[np.cumsum([5 if given == 300 else 1 for given in ids.tolist()]) - 1]

    prompt_ids = np.array([OPEN_TURN, *b"assistant", 300, *b"ink>"], np.int32)
    trace = make_trace(problem=None, prompt_ids=prompt_ids, tokenizer=TOKENIZER.sha256)
    assert seen(open_prompt(trace, Merging(), Delimiters())) == "<|im_start|>assistant\n<think>\n"


@pytest.mark.parametrize("padding", ["<|im_end|>", "<|im_end|>" * 40])
def test_padding_before_a_prompt_is_left_out(padding: str) -> None:
    expected = opened(prompt=TURN).ids.tolist()
    assert opened(prompt=padding + TURN).ids.tolist() == expected
    assert opened(prompt_ids=ids(padding + TURN)).ids.tolist() == expected


@given(st.text(st.sampled_from("ab \n"), max_size=20))
def test_a_byte_order_mark_and_carriage_returns_change_nothing(plain: str) -> None:
    marked = "\ufeff" + plain.replace("\n", "\r\n")
    assert opened(prompt=marked).ids.tolist() == opened(prompt=plain).ids.tolist()
    assert opened(problem=marked).ids.tolist() == opened(problem=plain).ids.tolist()


def test_ids_of_the_provers_tokenizer_are_used_before_any_text() -> None:
    trace = make_trace(prompt="other", prompt_ids=ids("Q"), tokenizer=TOKENIZER.sha256)
    assert prompt_ids_of(trace, TOKENIZER).tolist() == list(b"Q")


def test_ids_of_another_tokenizer_are_left_out_where_there_is_text_and_refused_where_there_is_none() -> None:
    assert seen(opened(prompt="Q", prompt_ids=np.array([7]), tokenizer="other")) == "Q<think>\n"
    with pytest.raises(TraceError, match="send problem, messages or prompt instead") as refused:
        opened(prompt_ids=np.array([7]), tokenizer="other")
    assert (refused.value.param, refused.value.code) == ("prompt_ids", "tokenizer_mismatch")
    assert TOKENIZER.sha256 in str(refused.value), "the caller sees which one it would be"


def test_a_trace_without_a_prompt_names_what_it_may_send() -> None:
    with pytest.raises(TraceError, match="problem, messages, prompt and prompt_ids"):
        opened()


def test_ids_that_no_tokenizer_has_are_refused_before_anything_reads_them() -> None:
    for fine in (None, np.array([], np.int32), np.array([0, 3])):
        check_ids(fine, "prompt_ids")
    with pytest.raises(TraceError, match=r"prompt_ids: token ids must be at least 0, got -7") as refused:
        opened(prompt="there is text, too", prompt_ids=np.array([3, -1, -7]), tokenizer="other")
    assert refused.value.param == "prompt_ids"
