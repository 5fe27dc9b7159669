"""The engines that a trainer runs for its policy, as a prover: their weights change together, and they sleep between.

While they sleep, or take weights, nothing is asked: what is asked waits, and what was being asked is asked again of the
new weights. So the trainer never waits for a proof, and no proof mixes two weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from mrt_reward.backoff import Backoff
from mrt_reward.errors import MRTRewardError, ProverUnavailable
from mrt_reward.protocols import EndpointState, Proof, Proven, ProverInfo, Tokenizer
from mrt_reward.provers.openai.identity import known_trace
from mrt_reward.provers.openai.prover import OpenAIProver

logger = structlog.stdlib.get_logger(__name__)

BACKOFF = Backoff(max_wait_s=5.0)


class TrainerEngines:
    """A `Prover` over a trainer's engines.

    The trainer says which weights they have; what the engines report of themselves does not change with their weights.
    An engine forgets what it cached with its weights by itself, since the trainer's own answers depend on that too: so
    probes have no salt, which would hide from them the trace that the engine has just written.

    Args:
        prover: over the engines' endpoints; owned.
        version: of the weights that they have now.
        backoff: when to ask again those that do not answer once they are awake.

    """

    def __init__(self, prover: OpenAIProver, version: str, backoff: Backoff = BACKOFF) -> None:
        self._prover = prover
        self._version = version
        self._backoff = backoff
        self._info = prover.info
        self._awake = asyncio.Event()
        self._waking: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[Proven]] = set()

    @property
    def info(self) -> ProverInfo:
        """Who proves, since the last time that they woke; the version is the trainer's."""
        return replace(self._info, version=self._version)

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the policy."""
        return self._prover.tokenizer

    @property
    def num_slots(self) -> int:
        """As many as of their endpoints."""
        return self._prover.num_slots

    @property
    def endpoints(self) -> Sequence[EndpointState]:
        """What became of each engine."""
        return self._prover.endpoints

    async def begin(self, *, likelihood: bool) -> ProverInfo:
        """Find out who they are, while they are awake, and let them prove.

        Args:
            likelihood: check that they return likelihoods, which not all do.

        Raises:
            ProverError: they tell none; `ProverUnavailable` where none answers.
            ConfigError: they cannot be used, or two do not have the same weights.

        """
        await self._prover.check()
        if likelihood:
            await self._prover.prove(known_trace(self.tokenizer))
        self._info = self._prover.info
        self._awake.set()
        return self.info

    async def pause(self) -> None:
        """Ask nothing from now on; what was being asked is given up before this returns."""
        self._awake.clear()
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.wait({self._waking})
        asking = set(self._asking)
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    async def resume(self, version: str) -> None:
        """Ask again, of these weights, as soon as the engines answer; returns at once.

        Args:
            version: of the weights that they have now.

        """
        await self.pause()
        self._version = version
        self._waking = asyncio.create_task(self._wake(), name=f"wake {version}")

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof, once they are awake and answer: callers have deadlines.

        Raises:
            ProverError: this proof could not be answered.

        """
        num_tries = 0
        while True:
            await self._awake.wait()
            version = self._version
            try:
                proven = await self._asked(proof)
            except ProverUnavailable as error:
                num_tries += 1
                logger.warning("engines_do_not_answer", version=version, problem=str(error))
                await asyncio.sleep(self._backoff.wait_s(num_tries, 0.0))
                continue
            if proven is not None:
                return replace(proven, version=version)

    async def _asked(self, proof: Proof) -> Proven | None:
        """The answer; None where a pause cut it off."""
        asking = asyncio.create_task(self._prover.prove(proof))
        self._asking.add(asking)
        try:
            await asyncio.wait({asking})
        finally:
            self._asking.discard(asking)
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking})
        return None if asking.cancelled() else asking.result()

    async def check(self) -> None:
        """Have one token written, once they are awake; raises as `OpenAIProver.check` does."""
        await self._awake.wait()
        await self._prover.check()

    async def close(self) -> None:
        """Ask nothing any more."""
        await self.pause()
        await self._prover.close()

    async def _wake(self) -> None:
        num_tries = 0
        while not self._awake.is_set():
            if num_tries:
                await asyncio.sleep(self._backoff.wait_s(num_tries, 0.0))
            try:
                self._info = await self._prover.moved()
                self._awake.set()
            except MRTRewardError as error:
                num_tries += 1
                logger.warning("engines_do_not_answer", version=self._version, problem=str(error))
