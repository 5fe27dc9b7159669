"""Whether thinking is open at the end of a prompt, for templates of several families and for plain ones."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np
import pytest

from mrt_reward.options import Delimiters
from mrt_reward.text.byte_text import locate_bytes
from mrt_reward.text.turns import Ending, ending, tail_of, turn_words
from mrt_reward.types import TokenIds

WORDS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|end|>",
    "<s>",
    "</s>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
)
SPEC = {
    "added_tokens": [
        {"id": 256 + index, "content": word, "special": not re.fullmatch(r"</?(think|tool_call)>", word)}
        for index, word in enumerate(WORDS)
    ]
}
TURNS = turn_words(SPEC)
_PIECES = re.compile("(" + "|".join(map(re.escape, WORDS)) + ")")


def encode(text: str) -> list[int]:
    ids: list[int] = []
    for piece in _PIECES.split(text):
        ids += [256 + WORDS.index(piece)] if piece in WORDS else list(piece.encode())
    return ids


def locate(ids: TokenIds) -> tuple[str, TokenIds]:
    return locate_bytes([WORDS[token - 256].encode() if token > 255 else bytes([token]) for token in ids.tolist()])


def found(ids: Sequence[int], delimiters: Delimiters | None = None) -> Ending:
    chosen = delimiters or Delimiters()
    return ending(tail_of(ids, TURNS, locate, chosen), chosen)


def opened(prompt: str, delimiters: Delimiters | None = None) -> bool:
    return found(encode(prompt), delimiters).opened


QWEN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"
DEEPSEEK = "<\uff5cUser\uff5c>{}<\uff5cAssistant\uff5c>"
LLAMA2 = "<s>[INST] {} [/INST]"
LLAMA2_TWO_TURNS = "<s>[INST] Hello [/INST] Hi </s><s>[INST] {} [/INST]"
VICUNA = "A chat. USER: Hello ASSISTANT: Hi</s>USER: {} ASSISTANT:"
R1_ZERO = "A conversation between User and Assistant. User: {}\nAssistant:"
ALPACA = "### Instruction:\n{}\n\n### Response:\n"
QUESTION_ANSWER = "Q: {}\nA:"
# The prover knows none of these words, as when the policy is of another family.
FOREIGN = "<|user_start|>user\n{}<|turn_end|>\n<|user_start|>assistant\n"
TEMPLATES = (
    QWEN,
    LLAMA3,
    GEMMA,
    DEEPSEEK,
    LLAMA2,
    LLAMA2_TWO_TURNS,
    VICUNA,
    R1_ZERO,
    ALPACA,
    QUESTION_ANSWER,
    FOREIGN,
)
MENTIONS = (
    "What is 6 times 7?",
    "Begin with <think>. What is 6 times 7?",
    'Start your response with "<think>\\n". What is 6 times 7?',
    "Think between <think> and </think>. What is 6 times 7?",
    "Do not write </think>; what is 6 times 7? <think>",
    "<think>",
)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("question", MENTIONS)
def test_only_the_assistants_own_turn_opens_thinking(template: str, question: str) -> None:
    prompt = template.format(question)
    assert not opened(prompt)
    for tail in ("<think>", "<think>\n", "\n<think>\n\n", "<think>\nFirst, 6 times 5", "<think>\nHe wrote <think>. So"):
        assert opened(prompt + tail), tail
    assert not opened(prompt + "<think>\nAll of it.\n</think>\n\nThe answer")


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_empty_block_and_a_bare_closing_delimiter_are_found_where_they_begin(template: str) -> None:
    prompt = template.format("Think between <think> and </think>.")
    for tail in ("<think></think>", "<think>\n\n</think>\n\n"):
        tokens = encode(prompt + tail)
        end = tail_of(tokens, TURNS, locate, Delimiters())
        index = found(tokens).empty_block
        assert index is not None, tail
        assert end.text[index:] == tail
    tokens = encode(prompt + "</think>\n")
    index = found(tokens).bare_close
    assert index is not None
    assert tail_of(tokens, TURNS, locate, Delimiters()).text[index:] == "</think>\n"
    assert found(encode(prompt + "<think>\nAll.\n</think>\n\n")) == Ending(opened=False)


def test_a_tool_call_within_the_thinking_is_no_turn() -> None:
    assert "<tool_call>" not in TURNS.values()
    assert {"<s>", "</s>"} <= set(TURNS.values())
    assert opened(QWEN.format("6*7?") + "<think>\nI ask. <tool_call>{}</tool_call> And")


def test_an_added_word_is_a_tag_only_with_its_counterpart() -> None:
    assert turn_words({"added_tokens": [{"id": 1, "content": "<sep>", "special": False}]}) == {1: "<sep>"}


def test_delimiters_may_be_made_of_turn_tokens() -> None:
    harmony = Delimiters("<|channel|>analysis<|message|>", "<|end|>")
    prompt = "<|start|>user<|message|>6*7?<|end|><|start|>assistant"
    assert not opened(prompt, harmony)
    assert opened(prompt + "<|channel|>analysis<|message|>", harmony)
    assert opened(prompt + "<|channel|>analysis<|message|>First", harmony)


def test_a_user_turn_that_nobody_answers_opens_nothing() -> None:
    assert not opened("<|im_start|>user\nBegin with <think>")


@pytest.mark.parametrize(
    "prompt", ["Solve it. <think>", "Q\n<think>\nFirst half. ", "<|begin_of_text|>Solve it.\n<think>\n", "<think>"]
)
def test_a_prompt_without_any_header_opens_at_its_end_or_on_a_line_of_its_own(prompt: str) -> None:
    assert opened(prompt)


@pytest.mark.parametrize(
    "prompt", ["", "Begin with <think>, then stop.", "Write <think>\nand then </think>", "Solve it."]
)
def test_a_prompt_without_any_header_is_not_opened_by_a_mention(prompt: str) -> None:
    assert not opened(prompt)


def test_without_an_opening_delimiter_nothing_is_open() -> None:
    assert not opened("a<think>", Delimiters("", "</think>"))
    assert opened("a<think>", Delimiters("<think>", ""))


@pytest.mark.parametrize("piece", ["<think>\n", "</think>", "User: ", "[INST]", "\n\n", "<", "# ", "a", "Assistant:"])
def test_the_time_is_linear_in_the_prompt(piece: str) -> None:
    def seconds(num: int) -> float:
        ids = np.array(encode("x" + piece * num), np.int32)
        tail = tail_of(ids, TURNS, locate, Delimiters())
        took: list[float] = []
        for _ in range(3):
            started = time.thread_time()
            ending(tail, Delimiters())
            took.append(time.thread_time() - started)
        return min(took)

    assert seconds(20_000) < 40 * max(seconds(2_000), 1e-4)
