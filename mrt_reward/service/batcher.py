"""Many requests, few engine calls: proofs wait in one bounded queue and leave it in batches.

The queue is measured in tokens, because that is what proofs cost. A request is refused at the door when its proofs do
not fit; once admitted, it waits only for the engine, never for room.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mrt_reward.errors import Overloaded, ProverError
from mrt_reward.protocols import Proof, Proven, Prover


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    proof: Proof
    future: asyncio.Future[Proven]


class Batcher:
    """Merges concurrent proofs into engine batches.

    Args:
        prover: the engine.
        max_queue_tokens: tokens of proofs admitted at once. A request larger than this is admitted alone.

    """

    def __init__(self, prover: Prover, max_queue_tokens: int = 4_000_000) -> None:
        self._prover = prover
        self._max_queue_tokens = max_queue_tokens
        self._queue: deque[_Ticket] = deque()
        self._arrival = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self.queued_tokens = 0
        """Tokens of all admitted proofs that are not answered yet."""
        self._answered_at = -math.inf
        """When the prover last answered a batch; never, where it failed since."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the prover's work last got on; None while it has none, or where it cannot tell."""
        return self._prover.silent_s

    def answers_within(self, seconds: float) -> bool:
        """Whether there is work, and a batch of it was answered in the last `seconds`."""
        return self.queued_tokens > 0 and time.monotonic() - self._answered_at < seconds

    @contextmanager
    def admitted(self, num_tokens: int) -> Generator[None]:
        """Hold room for a request of this many tokens.

        Raises:
            Overloaded: there is no room at present.

        """
        if self.queued_tokens and self.queued_tokens + num_tokens > self._max_queue_tokens:
            raise Overloaded(
                f"the queue holds {self.queued_tokens} tokens and takes at most {self._max_queue_tokens}; this request "
                f"would add {num_tokens}: send it again later or in smaller parts",
                retry_after_s=2.0,
            )
        self.queued_tokens += num_tokens
        try:
            yield
        finally:
            self.queued_tokens -= num_tokens

    async def prove(self, proof: Proof) -> Proven:
        """Have one proof answered, in whatever batch it fits.

        Raises:
            ProverError: it could not be answered.

        """
        if not self._workers:
            self._workers = [
                asyncio.create_task(self._work(), name=f"batcher-{index}")
                for index in range(self._prover.max_concurrent_batches)
            ]
        ticket = _Ticket(proof, asyncio.get_running_loop().create_future())
        self._queue.append(ticket)
        self._arrival.set()
        return await ticket.future

    async def close(self) -> None:
        """Stop the workers; what still waits fails."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        while self._queue:
            self._fail(self._queue.popleft(), ProverError("the service was closed"))

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            batch = self._take()
            if batch:
                await self._run(batch)
            elif not self._queue:
                self._arrival.clear()

    def _take(self) -> list[_Ticket]:
        """The next proofs in order of arrival that fit one engine call; always at least one if any waits."""
        batch: list[_Ticket] = []
        num_tokens = 0
        while self._queue:
            ticket = self._queue[0]
            if not ticket.future.done():
                num_tokens += ticket.proof.num_tokens
                if batch and num_tokens > self._prover.max_batch_tokens:
                    break
                batch.append(ticket)
            self._queue.popleft()
        return batch

    async def _run(self, batch: Sequence[_Ticket]) -> None:
        """Answer a batch; when every caller has left, the engine is told to stop."""
        call = asyncio.ensure_future(self._prover.prove([ticket.proof for ticket in batch]))

        def on_done(_: asyncio.Future[Proven]) -> None:
            if all(ticket.future.cancelled() for ticket in batch):
                call.cancel()

        for ticket in batch:
            ticket.future.add_done_callback(on_done)
        try:
            await asyncio.wait({call})
        except asyncio.CancelledError:
            call.cancel()
            self._fail_all(batch, ProverError("the service was closed"))
            raise
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        self._answered_at = time.monotonic() if error is None else -math.inf
        if error is not None:
            self._fail_all(batch, error if isinstance(error, ProverError) else ProverError(repr(error)))
            return
        for ticket, answer in zip(batch, call.result(), strict=True):
            if isinstance(answer, ProverError):
                self._fail(ticket, answer)
            elif not ticket.future.done():
                ticket.future.set_result(answer)

    def _fail_all(self, batch: Sequence[_Ticket], error: ProverError) -> None:
        for ticket in batch:
            self._fail(ticket, error)

    def _fail(self, ticket: _Ticket, error: ProverError) -> None:
        if not ticket.future.done():
            ticket.future.set_exception(error)
