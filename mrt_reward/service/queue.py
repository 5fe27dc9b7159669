"""Who may ask the prover, and when: admission measured in tokens, then a slot for each proof, in turn by caller.

A request is refused at the door when its proofs do not fit; once admitted, it waits only for the engine, never for
room. Each proof is answered as soon as the engine is done with it, whatever became of the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Hashable, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from mrt_reward.errors import Overloaded, ProverError
from mrt_reward.protocols import Proof, Proven, Prover, ShowsProgress, asking_caller
from mrt_reward.protocols.stages import stage
from mrt_reward.service.budgets import Budgets
from mrt_reward.service.fair_slots import FairSlots
from mrt_reward.service.throughput import Throughput

MAX_QUEUE_TOKENS = 4_000_000
"""Admitted at once, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much work is taken.

    Attributes:
        max_tokens: of proofs admitted at once. A request larger than this is admitted alone; callers that are told
            apart and have nothing in the queue find as much room again, so that no other caller can shut them out.
        tokens_per_minute: that callers may have proved, by their keys' names; None is without limit.

    """

    max_tokens: int
    tokens_per_minute: Mapping[str, int | None] = field(default_factory=dict[str, int | None])


class ProofQueue:
    """Lends the prover's slots to proofs.

    Args:
        prover: the engine that answers proofs.
        limits: on what is taken.

    """

    def __init__(self, prover: Prover, limits: QueueLimits | None = None) -> None:
        limits = limits or QueueLimits(MAX_QUEUE_TOKENS)
        self._prover = prover
        self.max_queue_tokens = limits.max_tokens
        """Admitted at once; see `QueueLimits.max_tokens`."""
        self.budgets = Budgets(limits.tokens_per_minute)
        self._slots = FairSlots(prover.num_slots)
        self._held: Counter[Hashable] = Counter()
        """Tokens admitted, by caller."""
        self._calls: set[asyncio.Future[Proven]] = set()
        self._closed = False
        self._freed = asyncio.Event()
        self._throughput = Throughput()
        self.queued_tokens = 0
        """Tokens of all admitted proofs that are not answered yet."""
        self._answered_at = -math.inf
        """When the prover last answered a proof; never, where it failed or was left since."""
        self.on_answered: Callable[[float, float], None] = lambda _waited_s, _proved_s: None
        """Called for every answered proof: the seconds that it waited for its turn, and those that the prover took."""

    @property
    def num_waiting(self) -> int:
        """Proofs that wait for their turn."""
        return self._slots.num_waiting

    @property
    def num_running(self) -> int:
        """Proofs that the prover has."""
        return len(self._calls)

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
            Overloaded: there is no room at present, or the caller's budget is spent.

        """
        caller = asking_caller()
        self.budgets.refuse_if_spent(caller)
        if not self._fits(num_tokens):
            raise Overloaded(
                f"the queue holds {self.queued_tokens} tokens and takes at most {self.max_queue_tokens}; this request "
                f"would add {num_tokens}: send it again later or in smaller parts",
                retry_after_s=self._throughput.wait_s(self.queued_tokens),
            )
        self.queued_tokens += num_tokens
        self._held[caller] += num_tokens
        try:
            yield
        finally:
            self.queued_tokens -= num_tokens
            self._held[caller] -= num_tokens
            if not self._held[caller]:
                del self._held[caller]
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
        caller = asking_caller()
        is_new = caller is not None and caller not in self._held
        room = self.max_queue_tokens * (2 if is_new else 1)
        return not self.queued_tokens or self.queued_tokens + num_tokens <= room

    async def prove(self, proof: Proof) -> Proven:
        """Have one proof answered, once it is its caller's turn for a slot. Cancelling it stops the engine's work.

        Whoever waited for the answer goes on before the slot's next proof is begun.

        Raises:
            ProverError: it could not be answered.

        """
        caller, asked_at = asking_caller(), time.monotonic()
        async with self._slots.slot(caller, proof.num_tokens):
            if self._closed:
                raise ProverError("the service was closed")
            self.budgets.charge(caller, proof.num_tokens)
            begun_at = time.monotonic()
            call = asyncio.ensure_future(self._asked(proof))
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
            self.on_answered(begun_at - asked_at, self._answered_at - begun_at)
        return proven

    async def _asked(self, proof: Proof) -> Proven:
        with stage("prove", prefixes=len(proof.probes), tokens=proof.num_tokens) as note:
            proven = await self._prover.prove(proof)
            note({"computed_tokens": proven.computed_tokens})
            return proven

    async def close(self) -> None:
        """Stop what runs; it fails, and so does what still waits."""
        self._closed = True
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
