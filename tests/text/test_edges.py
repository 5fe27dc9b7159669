from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.text.edges import (
    end_without_ends,
    ids_without_padding,
    is_end,
    plain,
    start_without_padding,
    unfolded_ends,
)

ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|finetune_right_pad_id|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "</s>",
    "<eos>",
    "<pad>",
    "<end_of_turn>",
    "[PAD]",
)


@pytest.mark.parametrize("word", ENDS)
def test_what_ends_or_pads_a_turn_in_any_family_is_no_part_of_the_text(word: str) -> None:
    assert is_end(word)
    for behind in (word, word * 3, f"{word}\n", f" {word}\n<|endoftext|>"):
        text = "It is 4 <5." + behind
        assert text[: end_without_ends(text)].rstrip() == "It is 4 <5."


@pytest.mark.parametrize("text", ["", "a", "a > b", "a <b>", "x </think>", "see [1]", "a <|im_start|>", "a\n\n", "<i>"])
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert end_without_ends(text) == len(text)


def test_control_words_of_the_readers_own_tokenizer_are_known_by_name() -> None:
    assert end_without_ends("a<extra_id_0>", 0, {"<extra_id_0>"}) == 1
    assert end_without_ends("a<extra_id_0>") == len("a<extra_id_0>")


def test_what_stands_before_the_start_stays() -> None:
    assert end_without_ends("</s></s>", 4) == 4


@pytest.mark.parametrize("piece", ["<|endoftext|>", " ", "<", "<|", "</s>\n", "|>", "]", ">"])
def test_the_time_is_linear_in_the_text(piece: str) -> None:
    def seconds(num: int) -> float:
        text = piece * num
        started = time.thread_time()
        end_without_ends(text)
        start_without_padding(text)
        return time.thread_time() - started

    assert min(seconds(50_000) for _ in range(3)) < 40 * max(min(seconds(5_000) for _ in range(3)), 1e-4)


@pytest.mark.parametrize("before", ["", *ENDS, "<s>", "<bos>", "<|reserved_9|>" * 2, "<|endoftext|>" * 40, "<pad><s>"])
def test_padding_before_a_prompt_is_no_part_of_it(before: str) -> None:
    text = f"{before}<|im_start|>user\nHello"
    assert text[start_without_padding(text) :] == "<|im_start|>user\nHello"


WORDS = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|begin_of_text|>", 3: "<|reserved|>"}


@pytest.mark.parametrize(
    ("ids", "bos", "kept"),
    [
        ([], None, []),
        ([9, 9], None, [9, 9]),
        ([0, 1, 9], None, [1, 9]),
        ([0] * 40 + [1, 9], None, [1, 9]),
        ([3, 3, 1, 9], None, [1, 9]),
        ([3, 1, 9], None, [3, 1, 9]),
        ([2, 1, 9], 2, [2, 1, 9]),
        ([2, 2, 2, 1, 9], 2, [2, 1, 9]),
        ([0, 0, 9], 0, [0, 9]),
        ([0, 0], None, [0, 0]),
    ],
)
def test_ids_lose_their_padding_and_keep_one_beginning_of_text(
    ids: list[int], bos: int | None, kept: list[int]
) -> None:
    assert ids_without_padding(np.array(ids, np.int32), WORDS, bos).tolist() == kept


def test_a_byte_order_mark_and_carriage_returns_are_no_text() -> None:
    assert plain("\ufeffa\r\nb\rc\n") == "a\nb\rc\n"


@given(st.text(alphabet="a\r\n ", max_size=30))
def test_offsets_come_back_to_the_text_as_it_was_sent(text: str) -> None:
    folded = text.replace("\r\n", "\n")
    ends = unfolded_ends(text, np.arange(len(folded) + 1, dtype=np.int32)).tolist()
    assert [text[:end].replace("\r\n", "\n") for end in ends] == [folded[:end] for end in range(len(folded) + 1)]
    assert ends[-1] == len(text)
