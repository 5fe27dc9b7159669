"""What a trainer says of weights that it hands over: how probable a known text is by its own copy of them.

Servers compare that with what they loaded, so that torn files, or those of another run, never prove as the policy's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mrt_reward.protocols import WeightsCanary
from mrt_reward.protocols.canary import ANSWER, PROMPT, SUFFIX

__all__ = ["CanaryTokens", "WeightsCanary", "canary_tokens", "unvouched", "vouched"]

logger = logging.getLogger(__name__)

MAX_ABOVE = 1e-3
"""Log-probability above 0 that is rounding."""


@dataclass(frozen=True, slots=True)
class CanaryTokens:
    """The known text in a policy's tokens: what stands before the answer, and the answer."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        """All of it."""
        return [*self.prompt_ids, *self.answer_ids]


def canary_tokens(encode: Callable[[str], Sequence[int]]) -> CanaryTokens:
    """The known text, the same one for all trainers, in the tokens of a policy.

    Args:
        encode: text to ids of the policy, without tokens that begin or end a text.

    """
    return CanaryTokens(tuple(encode(PROMPT + SUFFIX)), tuple(encode(ANSWER)))


def vouched(tokens: CanaryTokens, logprob: float, dtype: str) -> WeightsCanary | None:
    """What goes to the servers; None, and a line in the log, where nothing can be said.

    Args:
        tokens: of the known text.
        logprob: natural logarithm of the answer's probability at temperature 1, summed over its tokens.
        dtype: precision in which it was computed, by any of its names; the roughest where it is not known.

    """
    reported = len(tokens.prompt_ids) > 1 and len(tokens.answer_ids) > 1
    if not reported or not math.isfinite(logprob) or logprob > MAX_ABOVE:
        return unvouched(f"its answer of {len(tokens.answer_ids)} tokens has log-probability {logprob:g}")
    return WeightsCanary(tokens.prompt_ids, tokens.answer_ids, min(logprob, 0.0), _precision(dtype))


def unvouched(why: str) -> None:
    """Say why weights go without a canary."""
    logger.warning("mrt: weights are handed over without a canary, so that servers cannot compare: %s", why)


def _precision(dtype: str) -> Literal["float32", "bfloat16", "float16"]:
    match dtype.removeprefix("torch."):
        case "float32" | "fp32" | "float":
            return "float32"
        case "float16" | "fp16" | "half":
            return "float16"
        case _:
            return "bfloat16"
