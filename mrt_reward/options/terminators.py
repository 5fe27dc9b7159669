"""What ends the thinking and asks for the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MaxLen, MinLen

from mrt_reward.ranges import Strict


@dataclass(frozen=True, slots=True)
class Terminator:
    r"""The trusted text that ends thinking and asks for the answer at once.

    Attributes:
        forced: follows a prefix that was cut short. A blank line goes before it where the prefix ends in mid-line.
        natural: follows the whole thinking of a trace that closed it by itself.
        answer: `boxed` ends at `\\boxed`, so the answer is the braces that come next; `free` lets the prover write.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    forced: Annotated[str, MinLen(1), MaxLen(10_000)]
    natural: Annotated[str, MinLen(1), MaxLen(10_000)]
    answer: Literal["boxed", "free"]


_BOXED = "</think>\n\nThe final answer is \\boxed"

TERMINATORS = {
    "boxed": Terminator(forced=_BOXED, natural=_BOXED, answer="boxed"),
    "official": Terminator(
        forced=(
            "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and "
            "formulate a final answer based on what I already have.\n</think>\n\n"
            "**Step-by-Step Explanation and Answer:**\n\n1. **"
        ),
        natural="</think>",
        answer="free",
    ),
    "qwen3": Terminator(
        forced=(
            "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
            "\n</think>\n\n"
        ),
        natural="</think>\n\n",
        answer="free",
    ),
}
TerminatorName = Literal["boxed", "official", "qwen3"]
