"""Who may ask the prover, and when: admission measured in tokens, then a slot for each proof, in order of arrival.

A request is refused at the door when its proofs do not fit; once admitted, it waits only for the engine, never for
room. Each proof is answered as soon as the engine is done with it, whatever became of the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from mrt_reward.errors import Overloaded, ProverError
from mrt_reward.protocols import Proof, Proven, Prover, ShowsProgress
from mrt_reward.service.throughput import Throughput


class ProofQueue:
    """Lends the prover's slots to proofs.

    Args:
        prover: the engine.
        max_queue_tokens: tokens of proofs admitted at once. A request larger than this is admitted alone.

    """

    def __init__(self, prover: Prover, max_queue_tokens: int = 4_000_000) -> None:
        self._prover = prover
        self._max_queue_tokens = max_queue_tokens
        self._slots = asyncio.Semaphore(prover.num_slots)
        self._calls: set[asyncio.Future[Proven]] = set()
        self._closed = False
        self._freed = asyncio.Event()
        self._throughput = Throughput()
        self.queued_tokens = 0
        """Tokens of all admitted proofs that are not answered yet."""
        self._answered_at = -math.inf
        """When the prover last answered a proof; never, where it failed or was left since."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the prover's work last got on; None while it has none, or where it cannot tell."""
        return self._prover.silent_s if isinstance(self._prover, ShowsProgress) else None

    def answers_within(self, seconds: float) -> bool:
        """Whether there is work, and a proof of it was answered in the last `seconds`."""
        return self.queued_tokens > 0 and time.monotonic() - self._answered_at < seconds

    @contextmanager
    def admitted(self, num_tokens: int) -> Generator[None]:
        """Hold room for a request of this many tokens.

        Raises:
            Overloaded: there is no room at present.

        """
        if not self._fits(num_tokens):
            raise Overloaded(
                f"the queue holds {self.queued_tokens} tokens and takes at most {self._max_queue_tokens}; this request "
                f"would add {num_tokens}: send it again later or in smaller parts",
                retry_after_s=self._throughput.wait_s(self.queued_tokens),
            )
        self.queued_tokens += num_tokens
        try:
            yield
        finally:
            self.queued_tokens -= num_tokens
            # Who waits now looks again; who comes later waits for the next time.
            self._freed.set()
            self._freed.clear()

    @asynccontextmanager
    async def room(self, num_tokens: int) -> AsyncGenerator[None]:
        """Hold room as `admitted` does, and wait for it: for callers that have no deadline."""
        while not self._fits(num_tokens):
            await self._freed.wait()
        with self.admitted(num_tokens):
            yield

    def _fits(self, num_tokens: int) -> bool:
        return not self.queued_tokens or self.queued_tokens + num_tokens <= self._max_queue_tokens

    async def prove(self, proof: Proof) -> Proven:
        """Have one proof answered, once a slot is free. Cancelling it stops the engine's work and gives the slot back.

        Whoever waited for the answer goes on before the slot's next proof is begun.

        Raises:
            ProverError: it could not be answered.

        """
        async with self._slots:
            if self._closed:
                raise ProverError("the service was closed")
            call = asyncio.ensure_future(self._prover.prove(proof))
            self._calls.add(call)
            self._throughput.begin()
            num_tokens = 0
            try:
                proven = await call
                num_tokens = proof.num_tokens
            except asyncio.CancelledError:
                if self._closed:
                    raise ProverError("the service was closed") from None
                raise
            finally:
                self._calls.discard(call)
                self._throughput.end(num_tokens)
                self._answered_at = time.monotonic() if num_tokens else -math.inf
        return proven

    async def close(self) -> None:
        """Stop what runs; it fails, and so does what still waits."""
        self._closed = True
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
