"""A prover that counts the answers it passes on, so that what had to be decoded is known and not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.benchmark.counting import unique_tokens
from mrt_reward.protocols import Proof, Proven, Prover, ProverInfo, Tokenizer


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How many answers were sampled, and their tokens.

    Attributes:
        num_answers: number of answers.
        num_tokens: of them all.
        decoded_tokens: that had to be run: a beginning that answers to one prefix share counts once, and the last token
            of an answer not at all.

    """

    num_answers: int = 0
    num_tokens: int = 0
    decoded_tokens: int = 0

    @property
    def mean_tokens(self) -> float:
        """Mean length of an answer in tokens; 0 where there is none."""
        return self.num_tokens / self.num_answers if self.num_answers else 0.0

    def plus(self, completions: Sequence[Sequence[int]]) -> AnswerCounts:
        """With all answers to one more prefix."""
        return AnswerCounts(
            self.num_answers + len(completions),
            self.num_tokens + sum(map(len, completions)),
            self.decoded_tokens + unique_tokens(np.array(ids[:-1], np.int32) for ids in completions),
        )


class RecordingProver:
    """Another prover, and how long its sampled answers are.

    Args:
        inner: does the work; owned.

    """

    def __init__(self, inner: Prover) -> None:
        self.inner = inner
        self._counts = AnswerCounts()

    def taken(self) -> AnswerCounts:
        """Counts of the answers since the last call."""
        counts, self._counts = self._counts, AnswerCounts()
        return counts

    @property
    def info(self) -> ProverInfo:
        """The inner prover's."""
        return self.inner.info

    @property
    def tokenizer(self) -> Tokenizer:
        """The inner prover's."""
        return self.inner.tokenizer

    @property
    def num_slots(self) -> int:
        """The inner prover's."""
        return self.inner.num_slots

    async def prove(self, proof: Proof) -> Proven:
        """The inner prover's answers, counted."""
        proven = await self.inner.prove(proof)
        for answer in proven.answers:
            self._counts = self._counts.plus(answer.completions)
        return proven

    async def check(self) -> None:
        """Let the inner prover generate one token."""
        await self.inner.check()

    async def close(self) -> None:
        """Release the inner prover."""
        await self.inner.close()
