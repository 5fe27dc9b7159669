"""What a policy answered, as trainers know it: tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from mrt_reward.types import Message


@dataclass(frozen=True, slots=True)
class Response:
    """What a policy answered to a prompt.

    Attributes:
        prompt_ids: tokens of the prompt, template included.
        response_ids: tokens of the response, without padding.
        messages: the prompt as a chat, for a prover with another tokenizer; empty if there is none.
        answer: accepted gold answers.
        group: responses of one group answer the same prompt.

    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    messages: Sequence[Message] = ()
    answer: Sequence[str] = ()
    group: str | None = None


def gold_answers(given: Any) -> tuple[str, ...]:  # noqa: ANN401 - a dataset's column
    """Gold answers of a dataset's column: text, a number, or several of these; none where it holds something else."""
    plain: Any = given.tolist() if hasattr(given, "tolist") else given
    many = cast("Sequence[object]", plain) if isinstance(plain, list | tuple) else [plain]
    return tuple(str(each) for each in many if isinstance(each, str | int | float) and not isinstance(each, bool))
