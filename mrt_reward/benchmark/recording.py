"""A prover that counts the answers it passes on, so that what had to be decoded is known and not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import Proof, Proven, Prover, ProverInfo, Tokenizer, WeightsKind


class RecordingProver:
    """Another prover, and how long its sampled answers are.

    Args:
        inner: does the work; owned.

    """

    def __init__(self, inner: Prover) -> None:
        self.inner = inner
        self._num_answers = self._num_tokens = 0

    def taken_mean(self) -> float | None:
        """Mean length in tokens of the answers since the last call; None where none was sampled."""
        mean = self._num_tokens / self._num_answers if self._num_answers else None
        self._num_answers = self._num_tokens = 0
        return mean

    @property
    def info(self) -> ProverInfo:
        """The inner prover's."""
        return self.inner.info

    @property
    def tokenizer(self) -> Tokenizer:
        """The inner prover's."""
        return self.inner.tokenizer

    @property
    def max_batch_tokens(self) -> int:
        """The inner prover's."""
        return self.inner.max_batch_tokens

    @property
    def max_concurrent_batches(self) -> int:
        """The inner prover's."""
        return self.inner.max_concurrent_batches

    async def prove(self, proofs: Sequence[Proof]) -> Sequence[Proven | ProverError]:
        """The inner prover's answers, counted."""
        answered = await self.inner.prove(proofs)
        for one in answered:
            if isinstance(one, Proven):
                lengths = [len(ids) for answer in one.answers for ids in answer.completions]
                self._num_answers += len(lengths)
                self._num_tokens += sum(lengths)
        return answered

    async def check(self) -> None:
        """Let the inner prover generate one token."""
        await self.inner.check()

    async def load_weights(self, folder: Path, kind: WeightsKind) -> None:
        """Let the inner prover load them."""
        await self.inner.load_weights(folder, kind)

    async def wait_dead(self) -> ProverUnavailable:
        """Return why the inner prover died."""
        return await self.inner.wait_dead()

    async def close(self) -> None:
        """Release the inner prover."""
        await self.inner.close()
