"""Where the response of a query begins, whatever stands before the prompt and whatever the response says."""

from __future__ import annotations

import pytest

from mrt_reward.server.queries import taken_apart

QUESTION = "On the island map, which of these places leads to an exit after exactly three steps?"
CHAT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
THOUGHT = "Let me start.</think>\\boxed{9}"
LLAMA = (
    f"<|start_header_id|>user<|end_header_id|>\n\n{QUESTION}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)


@pytest.mark.parametrize(
    "prompt", [CHAT, LLAMA, f"Question: {QUESTION}\nAssistant: <think>", f"[INST] {QUESTION} [/INST]"]
)
@pytest.mark.parametrize(
    "before",
    [
        "",
        "<|endoftext|>" * 40,
        "</s>" * 3,
        "<pad>" * 7,
        "[PAD]" * 2,
        "<|finetune_right_pad_id|>" * 5,
        "<|reserved_special_token_7|>" * 2,
        "<\uff5cend\u2581of\u2581sentence\uff5c>" * 4,
        "<|endoftext|>" * 2 + "<s> ",
        "<|begin_of_text|>",
        "<bos>",
    ],
)
def test_padding_and_a_beginning_of_text_before_the_prompt_are_no_part_of_it(prompt: str, before: str) -> None:
    assert taken_apart(before + prompt + THOUGHT + "<|im_end|><|endoftext|>", prompt) == (prompt, THOUGHT)


def test_a_beginning_of_text_may_be_the_prompts_and_not_the_querys() -> None:
    assert taken_apart(LLAMA + THOUGHT, f"<|begin_of_text|>{LLAMA}") == (f"<|begin_of_text|>{LLAMA}", THOUGHT)


@pytest.mark.parametrize("cut", [1, 10, 40, len(CHAT) - len("<|im_start|>assistant\n<think>\n")])
@pytest.mark.parametrize("before", ["", "<|endoftext|>" * 3])
def test_a_prompt_that_is_cut_on_the_left_is_found_by_its_end(cut: int, before: str) -> None:
    assert taken_apart(before + CHAT[cut:] + THOUGHT, CHAT) == (CHAT[cut:], THOUGHT)


@pytest.mark.parametrize("cut", [0, 5, 40])
@pytest.mark.parametrize("before", ["", "<s>", "<|endoftext|>" * 9])
@pytest.mark.parametrize("copied", [0, 5, 40])
def test_a_response_cannot_move_the_cut_into_itself(cut: int, before: str, copied: int) -> None:
    response = f"a</think>\\boxed{{9}}<|im_end|>\n{CHAT[copied:]}\n</think>\\boxed{{1}}"
    assert taken_apart(before + CHAT[cut:] + response, CHAT) == (CHAT[cut:], response)


def test_a_prompt_whose_beginning_is_decoded_another_way_is_found_by_its_end() -> None:
    prompt = f"<|im_start|>user\nLet x , y be. {QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    decoded = prompt.replace("x , y", "x, y")
    response = f"b</think>{prompt}c"
    assert taken_apart(decoded + response, prompt) == (decoded, response)


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        (CHAT + THOUGHT, "another prompt"),
        (CHAT + THOUGHT, ""),
        ("x" + THOUGHT, CHAT),
        # One turn or two may have been cut away, and the second could be the response's.
        (2 * CHAT + THOUGHT, 3 * CHAT),
        (THOUGHT, "<s>"),
    ],
)
def test_a_query_whose_response_begins_nowhere_for_sure_is_refused(query: str, prompt: str) -> None:
    assert taken_apart(query, prompt) is None
