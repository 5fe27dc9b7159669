r"""The words around a trace: chat turns, delimiters, forced and natural endings.

A conversation is rendered in ChatML, and the assistant's turn opens `<think>`. Thinking ends, by itself or by force,
with the same words: `</think>`, a sentence, `\boxed`, and the answer in its braces.
"""

from __future__ import annotations

import re

from numpy.random import Generator

from mrt_reward.options import TERMINATORS

TURN_OPEN, TURN_CLOSE, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

TERMINATOR = TERMINATORS["boxed"].forced
"""Closes the thinking and opens a boxed answer; the answer follows with its braces."""

FREE_TERMINATOR = TERMINATORS["official"].forced
"""Closes the thinking and opens a free-form answer: the authors' words, which the answer goes on from."""

_FREE_KNOWN = (
    "What I know.** I have walked from some of the places.",
    "Where I stand.** Time was short for so many places.",
    "What I did.** I looked where the paths lead to.",
)
_FREE_CHOICE = (
    "Of the places that may still be right I take one.",
    "I choose among the places that are still open.",
    "One of the places that I have not ruled out must do.",
)
_FREE_BOX = "\n\nSo the answer is \\boxed"

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


def free_explanation(rng: Generator) -> str:
    r"""What follows `FREE_TERMINATOR` up to `\boxed`, 30 to 40 tokens that tell nothing about the answer."""
    known, choice = (options[int(rng.integers(len(options)))] for options in (_FREE_KNOWN, _FREE_CHOICE))
    return f"{known} {choice}{_FREE_BOX}"


def boxed_answer(completion: str) -> int | None:
    """The last boxed place after the thinking closed; None where the thinking never closed or nothing is boxed."""
    _, closed, ending = completion.rpartition(THINK_CLOSE)
    found = _BOXED.findall(ending) if closed else []
    return int(found[-1]) if found else None
