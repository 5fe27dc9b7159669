"""A trace with known answers, proved again on a schedule: is the engine still the one that was started?

Memory that goes bad, a cache that mixes up its blocks, or weights that somebody changed behind an endpoint give other
numbers without any error. Values are then worse than none, so the service stops giving them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from mrt_reward.errors import MRTRewardError, ProverUnavailable
from mrt_reward.protocols import ProbeAnswer, Proof, Proven, Prover
from mrt_reward.protocols.canary import canary_proof, rounding, worst_difference
from mrt_reward.service.queue import ProofQueue

NUM_TOKENS = 96
"""Tokens of the known trace."""

WRONG = frozenset({"broken_logprobs", "non_finite_logits"})
"""Codes of errors that tell of an engine's numbers, and not of what it cannot do."""

logger = structlog.stdlib.get_logger(__name__)


class Canary:
    """Proves one trace through the queue, like anybody's.

    Args:
        prover: the engine; its first answers with some weights are what it is held to.
        queue: lends its slots.

    """

    def __init__(self, prover: Prover, queue: ProofQueue) -> None:
        self._prover = prover
        self._queue = queue
        self._version: str | None = None
        self._expected: Sequence[ProbeAnswer] = ()
        self._problem: ProverUnavailable | None = None
        self._wrong_version = ""

    @property
    def problem(self) -> ProverUnavailable | None:
        """Why values are not to be trusted any more; None while they are, and as soon as other weights serve."""
        return self._problem if self._prover.info.version == self._wrong_version else None

    def refuse_if_wrong(self) -> None:
        """Raise where the engine's answers changed.

        Raises:
            ProverUnavailable: they did.

        """
        if (problem := self.problem) is not None:
            raise problem

    async def prove(self) -> None:
        """Prove the trace: twice with new weights, cold and warm, and else once. A difference stays a problem."""
        try:
            proof = canary_proof(self._prover.tokenizer, NUM_TOKENS, self._prover.info.max_tokens)
            proven = await self._queue.prove(proof)
            if proven.version != self._version:
                self._version, self._expected = proven.version, proven.answers
                proven = await self._queue.prove(proof)
        except MRTRewardError as error:
            if error.code in WRONG:
                self._sound_alarm(str(error), self._prover.info.version)
            else:
                logger.info("canary_not_proved", reason=str(error), code=error.code)
            return
        if proven.version == self._version:
            self._compare(proof, proven)

    async def watch(self, every_s: float) -> None:
        """Prove the trace again and again, until cancelled; never, where the time is 0."""
        while every_s > 0:
            await asyncio.sleep(every_s)
            await self.prove()

    def _compare(self, proof: Proof, proven: Proven) -> None:
        apart = worst_difference(proven.answers, self._expected)
        limit = rounding(proof, self._prover.info.dtype)
        # Not `>`, which NaN would pass.
        if not apart <= limit:
            self._sound_alarm(
                f"a trace that was proved before is now {apart:.3g} nats away, at most {limit:.2g} is rounding",
                proven.version,
            )

    def _sound_alarm(self, what: str, version: str) -> None:
        self._wrong_version = version
        logger.error("canary_changed", what=what, version=version)
        self._problem = ProverUnavailable(
            f"the prover's values cannot be trusted: {what}; restart the server, and look at the memory and the "
            f"weights of its engine (weights that change on purpose need another version, such as engine_version)",
            code="canary_changed",
        )
