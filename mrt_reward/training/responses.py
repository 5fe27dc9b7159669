"""What a policy answered, as trainers know it: tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt_reward.types import Message


@dataclass(frozen=True, slots=True)
class Response:
    """What a policy answered to a prompt.

    Attributes:
        prompt_ids: tokens of the prompt, template included.
        response_ids: tokens of the response, without padding.
        messages: the prompt as a chat, for a prover with another tokenizer; empty if there is none.
        answer: accepted gold answers, as the data set's column holds them: text, a number, several of these, or None.
        group: responses of one group answer the same prompt.
        session: under which it was written, or URL of the engine that wrote it; see `Trace`.
        step: of the trainer, from wherever it counts; coupled answers of one step share their noise.

    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    messages: Sequence[Message] = ()
    answer: object = None
    group: str | None = None
    step: int = 0
    session: str | None = None
