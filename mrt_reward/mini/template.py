r"""The words around a trace: chat turns, delimiters, forced and natural endings.

A conversation is rendered in ChatML, and the assistant's turn opens `<think>`. Thinking ends, by itself or by force,
with the same words: `</think>`, a sentence, `\boxed`, and the answer in its braces.
"""

from __future__ import annotations

import re

from mrt_reward.options import TERMINATORS

TURN_OPEN, TURN_CLOSE, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

TERMINATOR = TERMINATORS["boxed"].forced
"""Closes the thinking and opens a boxed answer; the answer follows with its braces."""

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
)
"""Jinja; renders turns verbatim, and opens the thinking when a generation prompt is asked for."""

_BOXED = re.compile(r"\\boxed\{(\d+)\}")


def prompt_text(problem_text: str, system: str | None = None) -> str:
    """What the model reads before it thinks; equals the chat template with a generation prompt."""
    opening = "" if system is None else f"{TURN_OPEN}system\n{system}{TURN_CLOSE}\n"
    return f"{opening}{TURN_OPEN}user\n{problem_text}{TURN_CLOSE}\n{TURN_OPEN}assistant\n{THINK_OPEN}\n"


def terminator(prefix: str) -> str:
    """The words that force an answer after `prefix`; a thought that was cut in mid-line first gets an empty line."""
    return TERMINATOR if not prefix or prefix.endswith("\n") else f"\n\n{TERMINATOR}"


def answer_text(place: int) -> str:
    """The answer in its braces, as it follows `TERMINATOR`."""
    return f"{{{place}}}"


def boxed_answer(completion: str) -> int | None:
    """The last boxed place after the thinking closed; None where the thinking never closed or nothing is boxed."""
    _, closed, ending = completion.rpartition(THINK_CLOSE)
    found = _BOXED.findall(ending) if closed else []
    return int(found[-1]) if found else None
