"""A query of OpenRLHF taken apart: its prompt, which is trusted, and the policy's response, which is not.

A query is the decoded prompt and response in one text. Padding and a beginning-of-text token may stand before it, and
the trainer cuts long prompts on the left. The response may hold anything, turn headers included, so that the prompt's
end is found by the prompt itself, never by what looks like a header.
"""

from __future__ import annotations

from mrt_reward.text.edges import end_without_ends, start_without_padding

ASSISTANT_OPENERS = (
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<\uff5cAssistant\uff5c>",
    "<start_of_turn>model",
    "[/INST]",
)
MAX_REPEATS = 64
"""Offsets of a prompt that look like the query's beginning, before it counts as one that repeats itself."""

MIN_TAIL = 32
"""Characters of a prompt's end that tell it from other text."""


def taken_apart(query: str, prompt: str) -> tuple[str, str] | None:
    """Prompt and response; None where nothing says for sure where the response begins. Linear time.

    Args:
        query: as the trainer decoded it.
        prompt: as it was before it was tokenized, and perhaps cut.

    """
    if not prompt:
        return None
    if query.startswith(prompt):
        return prompt, _response(query, len(prompt))
    start, own_start = _start(query), _start(prompt)
    asked = prompt[own_start:]
    if not asked:
        return None
    if query.startswith(asked, start):
        return prompt, _response(query, start + len(asked))
    end = _end_of_a_cut_prompt(query[start : start + len(asked)], asked)
    if end is None:
        end = _end_of_an_altered_prompt(query[start : start + 2 * len(asked)], asked)
    return None if end is None else (query[start : start + end], _response(query, start + end))


def _start(text: str) -> int:
    """Past the padding, and the white space that some tokenizers put after it."""
    start = start_without_padding(text)
    return start + len(text[start : start + 2]) - len(text[start : start + 2].lstrip())


def _response(query: str, start: int) -> str:
    return query[start : end_without_ends(query, start)]


def _least(asked: str) -> int:
    """How much of the prompt's end must be there: its last header, or enough to be distinguished from other text."""
    header = max((asked.rfind(opener) for opener in ASSISTANT_OPENERS), default=-1)
    return len(asked) - header if header >= 0 else min(MIN_TAIL, len(asked))


def _end_of_a_cut_prompt(beginning: str, asked: str) -> int | None:
    """Where the prompt ends if the query begins within it: the one end of it that the query starts with.

    None also where several ends fit, as in a prompt that repeats itself: then the response might be one of the repeats.
    """
    least = _least(asked)
    fitting: list[int] = []
    at = -1
    for _ in range(MAX_REPEATS):
        at = asked.find(beginning[:least], at + 1)
        if at < 0:
            return fitting[0] if len(fitting) == 1 else None
        if beginning.startswith(asked[at:]):
            fitting.append(len(asked) - at)
    return None


def _end_of_an_altered_prompt(beginning: str, asked: str) -> int | None:
    """Where the prompt ends if tokens spell its beginning another way: by its last characters, which are in it once.

    A copy that the response holds lies at least as far beyond the prompt's length as it is long.
    """
    size = min(max(MIN_TAIL, _least(asked)), len(asked))
    while size < len(asked) and asked.find(asked[-size:]) != len(asked) - size:
        size = min(2 * size, len(asked))
    at = beginning.find(asked[-size:])
    return at + size if 0 <= at < len(asked) else None
