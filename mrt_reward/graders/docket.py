"""What waits to be judged, on whose behalf, and what is known already: equal items are judged once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mrt_reward.graders.frames import Payload
from mrt_reward.graders.turns import Turns
from mrt_reward.protocols import Party

MAX_KNOWN = 20_000
"""Items whose outcome is remembered; less than a kilobyte each."""


class Outcome(Enum):
    """What became of one item."""

    JUDGED = "judged"
    KILLED = "killed"
    """Twice, by the item's own doing."""
    FAILED = "failed"
    """The grader failed, and not because of the item."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer: `result` when judged, otherwise `reason`."""

    outcome: Outcome
    result: Payload = field(default_factory=dict[str, object])
    reason: str = ""


Probes = Callable[[], Sequence[Payload]]


@dataclass(slots=True, eq=False)
class GradingJob:
    """One item, and who waits for it.

    Attributes:
        key: hash of the item; equal items are one.
        body: the item, as a worker reads it.
        probes: see `WorkerPool.judge`.
        waiting: one future for each who waits, and on whose behalf.
        lane: where it waits; None while it is judged.
        first: the reply to the first look, where that was not the end of it.

    """

    key: bytes
    body: bytes
    probes: Probes
    waiting: dict[asyncio.Future[Reply], Party] = field(default_factory=dict[asyncio.Future[Reply], Party])
    lane: Turns[GradingJob] | None = None
    first: Payload | None = None


class Docket:
    """Two lanes of items: those that nobody has looked at yet, and those that take long.

    An item waits here or in its caller, so that what callers are admitted with bounds both lanes.
    """

    def __init__(self) -> None:
        self._quick: Turns[GradingJob] = Turns(lambda job: job.lane is self._quick)
        self._slow: Turns[GradingJob] = Turns(lambda job: job.lane is self._slow)
        self._arrival = asyncio.Event()
        self._jobs: dict[bytes, GradingJob] = {}
        self._known: OrderedDict[bytes, Reply] = OrderedDict()

    async def reply(self, job: GradingJob, party: Party) -> Reply:
        """What became of an item, or of an equal one; an item that everybody left before its turn is dropped."""
        if job.key in self._known:
            self._known.move_to_end(job.key)
            return self._known[job.key]
        asked = self._jobs.setdefault(job.key, job)
        if asked is job:
            job.lane = self._quick
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        asked.waiting[future] = party
        if asked.lane is not None:
            self._wait_in(asked.lane, asked, party)
        try:
            return await future
        finally:
            del asked.waiting[future]
            self._drop_unwanted(asked)

    async def next(self, *, quick_only: bool, quick_first: bool) -> GradingJob:
        """The next item for a worker.

        Args:
            quick_only: of those that nobody has looked at yet.
            quick_first: prefer items that nobody has looked at yet.

        """
        lanes = (self._quick, self._slow) if quick_first else (self._slow, self._quick)
        while True:
            for lane in (self._quick,) if quick_only else lanes:
                job = lane.take()
                if job is not None:
                    job.lane = None
                    return job
            self._arrival.clear()
            await self._arrival.wait()

    def again(self, job: GradingJob) -> None:
        """Let an item that was looked at wait for its second turn."""
        self._wait_in(self._slow, job, *dict.fromkeys(job.waiting.values()))
        self._drop_unwanted(job)

    def resolve(self, job: GradingJob, reply: Reply) -> None:
        """Answer all who wait, and remember it."""
        del self._jobs[job.key]
        job.lane = None
        if reply.outcome is not Outcome.FAILED:  # our own failure is worth another try
            self._known[job.key] = reply
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        for future in job.waiting:
            if not future.done():
                future.set_result(reply)

    def resolve_all(self, reply: Reply) -> None:
        """Answer all who wait for anything."""
        for job in list(self._jobs.values()):
            self.resolve(job, reply)

    def _wait_in(self, lane: Turns[GradingJob], job: GradingJob, *parties: Party) -> None:
        job.lane = lane
        for party in parties:
            lane.put(party, job)
        self._arrival.set()

    def _drop_unwanted(self, job: GradingJob) -> None:
        """Forget an item that nobody waits for; one that is being judged is judged to the end."""
        if not job.waiting and job.lane is not None:
            job.lane = None
            del self._jobs[job.key]
