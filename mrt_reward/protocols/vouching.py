"""What the sender of weights says of them, so that a server can see that it serves what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field

from mrt_reward.errors import WeightsError
from mrt_reward.protocols.canary import rounding
from mrt_reward.protocols.proving import LikelihoodQuery, Probe, ProbeAnswer, Proof, SpellingIds

_Id = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class WeightsCanary:
    """How probable one answer is by the weights that are sent."""

    prompt_ids: Annotated[
        tuple[_Id, ...], Field(min_length=2, max_length=8192, description="Tokens before the answer.")
    ]
    answer_ids: Annotated[tuple[_Id, ...], Field(min_length=2, max_length=256, description="Tokens of the answer.")]
    logprob: Annotated[
        float,
        Field(
            le=0,
            allow_inf_nan=False,
            description="Natural logarithm of the answer's probability at temperature 1, summed over its tokens.",
        ),
    ]
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(
            description="Precision in which the sender computed it: the coarser one of two decides what is rounding."
        ),
    ] = "bfloat16"

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def proof(self) -> Proof:
        """The question whose only answer is this log-probability."""
        *prompt, last = self.prompt_ids
        *answer, close = self.answer_ids
        query = LikelihoodQuery((SpellingIds(tuple(answer), (close,)),))
        return Proof(np.array(prompt, np.int32), (Probe(len(prompt), (last,)),), query)

    def check_fits(self, max_tokens: int, vocab_size: int) -> None:
        """Check that a model can be asked.

        Raises:
            WeightsError: it is too long for the context, or an id is not the model's.

        """
        num_tokens, largest = len(self.prompt_ids) + len(self.answer_ids), max(*self.prompt_ids, *self.answer_ids)
        if num_tokens > max_tokens or largest >= vocab_size:
            raise WeightsError(
                f"the canary has {num_tokens} tokens and ids up to {largest}, the model takes {max_tokens} tokens and "
                f"ids below {vocab_size}: send one in the model's own ids",
                param="canary",
            )

    def refuse_others(self, answers: Sequence[ProbeAnswer], dtype: str) -> None:
        """See that an engine's answer to the question is the sender's, but for rounding.

        Args:
            answers: to `proof`.
            dtype: precision that the engine computes in.

        Raises:
            WeightsError: it is another: these are not the weights that were sent.

        """
        [[logprob]] = [answer.spelling_logprobs for answer in answers]
        limit = max(rounding(self.proof, dtype), rounding(self.proof, self.precision))
        # Not `>`, which NaN would pass.
        if not abs(logprob - self.logprob) <= limit:
            raise WeightsError(
                f"the canary's answer has log-probability {logprob:.4f} here and {self.logprob:.4f} at the sender, at "
                f"most {limit:.2g} apart is rounding: these are not the weights that the sender has, or its ids are of "
                "another tokenizer; write them again, and send them again",
                code="canary_differs",
                param="canary",
            )
