"""Texts that are too long are refused before much is done with them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mrt_reward.errors import ContextLengthError
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import TokenizedText
from mrt_reward.provers.scripted import ScriptedProver, ScriptedTokenizer
from mrt_reward.service.bounded import PIECE_CHARS, BoundedTokenizer
from mrt_reward.types import Message, Status, TokenIds
from tests.service.conftest import THINKING, MakeScorer, make_trace


class Counting(ScriptedTokenizer):
    """Counts the characters that it is given."""

    num_chars = 0

    def encode_untrusted(self, text: str) -> TokenizedText:
        self.num_chars += len(text)
        return super().encode_untrusted(text)


def test_the_work_on_a_long_text_ends_with_the_context() -> None:
    inner = Counting()
    with pytest.raises(ContextLengthError, match=r"of 15000000 characters are already over 50000 tokens") as refused:
        BoundedTokenizer(inner, 50_000).encode_untrusted("ab " * 5_000_000)
    assert refused.value.param == "completion"
    assert inner.num_chars <= 50_000 + 2 * PIECE_CHARS


def test_a_text_that_may_fit_is_encoded_as_ever() -> None:
    inner, text = Counting(), "ab " * 1_000
    assert BoundedTokenizer(inner, 3_000).encode_untrusted(text).ids.tolist() == list(text.encode())
    assert inner.num_chars == len(text)


def test_prompts_and_messages_are_bounded_too() -> None:
    bounded = BoundedTokenizer(ScriptedTokenizer(), 1_000)
    long = "x" * 10_000_000
    for call in (
        lambda: bounded.encode_trusted(long),
        lambda: bounded.encode_chat([Message("system", "s"), Message("user", long)]),
    ):
        with pytest.raises(ContextLengthError):
            call()


def test_messages_count_together_and_ids_are_counted_before_they_are_read() -> None:
    inner = Counting()
    bounded = BoundedTokenizer(inner, 1_000)
    with pytest.raises(ContextLengthError, match=r"of 3000000 characters are already over 1000 tokens") as refused:
        bounded.encode_chat([Message("user", "x" * 3_000)] * 1_000)
    assert refused.value.param == "messages"
    assert inner.num_chars <= 2 * PIECE_CHARS
    with pytest.raises(ContextLengthError, match="4001 token ids are over 4 times the 1000 tokens"):
        bounded.locate(np.zeros(4_001, np.int32))


class ElsewhereTokenizer(ScriptedTokenizer):
    """Is used in other threads than the event loop's."""

    def encode_trusted(self, text: str) -> TokenIds:
        assert threading.current_thread() is not threading.main_thread()
        return super().encode_trusted(text)


class ElsewhereProver(ScriptedProver):
    """Has such a tokenizer."""

    tokenizer = ElsewhereTokenizer()  # type: ignore[assignment]


async def test_no_prompt_is_read_on_the_event_loop(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ElsewhereProver([0.25, 0.5, 0.5, 1.0], max_tokens=4_000))
    prompt = {"problem": None, "prompt": "6 times 7?\n<think>\n"}
    long = make_trace("long", problem=None, prompt="word " * 100_000 + "<think>\n")
    refused, scored = await scorer.score([long, make_trace("good", **prompt)], ScoreOptions())
    assert refused.error is not None
    assert refused.error.code == "context_length_exceeded"
    # What it came to is known all the same.
    assert (refused.outcome, scored.outcome, scored.status) == (1.0, 1.0, Status.OK)
    await scorer.close()


async def test_a_trace_far_over_the_context_gets_its_error_and_its_neighbour_a_score(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0], max_tokens=4_000))
    long = make_trace("long", completion=THINKING + "ab " * 5_000_000)
    refused, scored = await scorer.score([long, make_trace("good")], ScoreOptions())
    assert refused.status is Status.ERROR
    assert refused.error is not None
    assert refused.error.code == "context_length_exceeded"
    assert scored.status is Status.OK
    await scorer.close()
