"""Killable workers behind two fair queues.

    item ──▶ quick lane: a first look ──not done──▶ slow lane: probes, then the item again, in full ──▶ verdict

Each item goes to one worker. When the worker's child has to be killed, or dies, the item is tried once more on a fresh
child, after items with a known outcome have passed there. Killed again, it is the item's doing (`KILLED`); with a probe
that fails, it is ours (`FAILED`).

Nobody can hold up others for long. Callers take turns in both lanes; the slow lane gets at most half of the time while
the quick one is not empty, and where there are two workers, one of them serves the quick lane alone; equal items are
judged once, and what became of them is remembered, kills included.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from pathlib import Path
from typing import cast

from mrt_reward.errors import GraderError, translated
from mrt_reward.graders import frames
from mrt_reward.graders.docket import Docket, GradingJob, Outcome, Probes, Reply
from mrt_reward.graders.environment import worker_environment
from mrt_reward.graders.worker import PATIENCE
from mrt_reward.protocols import Party, asking_party

LOAD_TIMEOUT_S = 90.0
GRACE_S = 10.0
"""A worker kills its own child on time; one that is this much later is killed whole."""
RETRY_START_S = 5.0
"""After a worker did not start, items fail at once for this long."""
LONG_CHARS = 50_000
"""Writing down an item that is longer than this is left to a thread."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerLost(GraderError):
    """A worker process ended, or never answered; its child's doing is distinguished from this."""

    code = "grader_worker_lost"


class GraderWorker:
    """One worker process (`mrt_reward.graders.worker`)."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, grader: str, *, timeout_s: float, memory_mb: int) -> GraderWorker:
        """Start one and wait until its grader is loaded.

        Raises:
            WorkerLost: it did not load; the message says why.

        """
        # Importable here means importable there, and the server's folder is searched last, as a user expects.
        path = [entry for entry in dict.fromkeys([*sys.path, str(Path.cwd())]) if entry]
        threads = dict.fromkeys(_THREADS, "1")
        environment = {
            **worker_environment(os.environ, grader),
            **threads,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONSAFEPATH": "1",
        }
        arguments = ["--grader", grader, "--timeout-s", str(timeout_s), "--memory-mb", str(memory_mb)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mrt_reward.graders.worker", *arguments,
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL if grader == "math" else None,
            env={**environment, "PYTHONHASHSEED": "0"}, start_new_session=True,
        )  # fmt: skip
        worker = cls(process)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(worker.stop)
            ready = await worker._receive(LOAD_TIMEOUT_S)
            if ready["status"] != "ready":
                raise WorkerLost(str(ready.get("reason")))
            undo.pop_all()
        return worker

    @property
    def pid(self) -> int:
        """Of the worker process."""
        return self._process.pid

    async def ask(self, body: bytes, wait_s: float) -> frames.Payload:
        """The worker's reply to one item.

        Raises:
            WorkerLost: there is none; the worker is of no more use.

        """
        stdin = cast("asyncio.StreamWriter", self._process.stdin)
        frame = frames.framed(body)
        try:
            with contextlib.suppress(ConnectionError):  # a worker that is gone shows when we read
                stdin.write(frame)
                await asyncio.wait_for(stdin.drain(), wait_s)
        except asyncio.TimeoutError:
            raise WorkerLost(f"the grading worker did not take the item within {wait_s:g} s") from None
        return await self._receive(wait_s)

    async def _receive(self, wait_s: float) -> frames.Payload:
        stdout = cast("asyncio.StreamReader", self._process.stdout)
        try:
            return frames.decode(await asyncio.wait_for(_read_body(stdout), wait_s))
        except asyncio.IncompleteReadError:
            raise WorkerLost("the grading worker ended") from None
        except asyncio.TimeoutError:
            raise WorkerLost(f"the grading worker gave no reply within {wait_s:g} s") from None
        except (ValueError, TypeError) as error:
            raise WorkerLost(f"the grading worker gave a reply that cannot be read: {error}") from error

    async def stop(self) -> None:
        """End the process and its child, and wait until it is gone."""
        process = self._process
        stdin = cast("asyncio.StreamWriter", process.stdin)
        stdin.close()
        with contextlib.suppress(ConnectionError):
            await stdin.wait_closed()
        try:
            await asyncio.wait_for(process.wait(), 2.0)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # the kernel then kills its child
            await process.wait()


class WorkerPool:
    """A fixed number of workers, started by the first item; for use in one event loop.

    Args:
        grader: what the workers load.
        num_workers: processes.
        timeout_s: processor time of one item, its first look included.
        memory_mb: address space of a worker's child.
        quick_s: of that, for a first look; None gives all at once, to items that should not be begun twice.

    """

    def __init__(
        self, grader: str, *, num_workers: int, timeout_s: float, memory_mb: int, quick_s: float | None = None
    ) -> None:
        if num_workers < 1 or timeout_s <= 0 or memory_mb < 64:
            raise ValueError(
                "expected num_workers >= 1, timeout_s > 0 and memory_mb >= 64, "
                f"got {num_workers}, {timeout_s} and {memory_mb}"
            )
        self._grader = grader
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._quick_s = quick_s if quick_s is not None and quick_s < timeout_s else None
        self._workers: list[GraderWorker | None] = [None] * num_workers
        self._runners: list[asyncio.Task[None]] = []
        self._docket = Docket()
        self._no_start_before = 0.0
        self._no_start_reason = ""
        self._closed = False
        self.num_kills: Counter[str] = Counter(timeout=0, memory=0, crash=0, lost=0)
        """Times that a worker's child was killed for time or memory or died, and that a worker itself was lost."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the running workers."""
        return tuple(worker.pid for worker in self._workers if worker is not None)

    async def judge(self, payload: frames.Payload, probes: Probes = tuple, party: Party | None = None) -> Reply:
        """What became of one item.

        Args:
            payload: the item.
            probes: asked when the item was killed; items that a worker in order judges without being killed.
            party: whose turn the item takes; None is `asking_party()`.

        """
        party = asking_party() if party is None else party
        try:
            body, key = await _written(payload)
        except (TypeError, ValueError, RecursionError) as error:
            return Reply(Outcome.FAILED, reason=f"{type(error).__name__}: {error}"[:300])
        if self._closed:
            return _CLOSED
        if not self._runners:
            self._runners = [asyncio.create_task(self._run(slot)) for slot in range(len(self._workers))]
        return await self._docket.reply(GradingJob(key, body, probes), party)

    async def close(self) -> None:
        """Stop the workers; items still under way fail."""
        self._closed = True
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        self._docket.resolve_all(_CLOSED)

    async def _run(self, slot: int) -> None:
        """Serve with one worker. A caller who gave up costs at most the item that is being judged."""
        reserved = slot == 0 and len(self._workers) > 1
        slow_ahead_s = 0.0
        try:
            while True:
                # Where both lanes are full, each gets half of the time: else each first look would wait for a long one.
                job = await self._docket.next(quick_only=reserved, quick_first=slow_ahead_s > 0)
                slow, started = job.first is not None, time.monotonic()
                reply: Reply | None = _CLOSED
                try:
                    with translated(lambda error: GraderError(f"{type(error).__name__}: {error}")):
                        reply = await self._judge(slot, job)
                except GraderError as error:
                    reply = Reply(Outcome.FAILED, reason=str(error)[:300])
                finally:
                    if reply is not None:
                        self._docket.resolve(job, reply)
                if reply is None:
                    self._docket.again(job)
                spent_s = time.monotonic() - started
                slow_ahead_s = spent_s if slow else slow_ahead_s - spent_s
        finally:
            await self._drop(slot)

    async def _judge(self, slot: int, job: GradingJob) -> Reply | None:
        """What became of an item; None where it has to be looked at again."""
        if job.first is None:
            first = await self._attempt(slot, job.body, frames.Order(self._quick_s))
            if first["status"] not in ("killed", "lost"):
                return _reply(first)
            job.first = first
            return None
        first, probes, fresh = job.first, job.probes(), True
        for probe in probes:
            passed = await self._attempt(slot, frames.body_of(probe), frames.Order(fresh=fresh))
            fresh = False
            if passed["status"] != "ok":
                reason = f"{first['reason']}, and a known-good probe then failed: {passed.get('reason')}"
                return Reply(Outcome.FAILED, reason=reason)
        # What the first look took counts, unless its worker was lost.
        rest_s = None if self._quick_s is None or first["status"] == "lost" else self._timeout_s - self._quick_s
        second = await self._attempt(slot, job.body, frames.Order(rest_s, fresh))
        if second["status"] == "killed" and (first["status"] == "lost" or not probes):
            return Reply(Outcome.FAILED, reason=f"{second['reason']}, not shown to be the item's doing")
        return _reply(second)

    async def _attempt(self, slot: int, body: bytes, order: frames.Order) -> frames.Payload:
        """One try; a worker that is missing is started first, one that is lost is dropped."""
        worker = self._workers[slot]
        if worker is None:
            if time.monotonic() < self._no_start_before:
                return {"status": "error", "reason": self._no_start_reason}
            try:
                worker = await GraderWorker.start(self._grader, timeout_s=self._timeout_s, memory_mb=self._memory_mb)
            except (WorkerLost, OSError) as error:
                self._no_start_reason = str(error)
                self._no_start_before = time.monotonic() + RETRY_START_S
                return {"status": "error", "reason": self._no_start_reason}
            self._workers[slot] = worker
        try:
            answer = await worker.ask(frames.ordered(order, body), PATIENCE * self._timeout_s + GRACE_S)
        except WorkerLost as error:
            self.num_kills["lost"] += 1
            await self._drop(slot)
            return {"status": "lost", "reason": str(error)}
        self.num_kills.update([str(answer["reason"])] if answer["status"] == "killed" else ())
        return answer

    async def _drop(self, slot: int) -> None:
        worker, self._workers[slot] = self._workers[slot], None
        if worker is not None:
            await worker.stop()


_CLOSED = Reply(Outcome.FAILED, reason="the grader is closed")


async def _written(payload: frames.Payload) -> tuple[bytes, bytes]:
    """An item as a worker reads it, and its hash."""

    def write() -> tuple[bytes, bytes]:
        body = frames.body_of(payload)
        return body, hashlib.blake2b(body, digest_size=20).digest()

    num_chars = sum(len(text) for text in payload.values() if isinstance(text, str))
    return await asyncio.to_thread(write) if num_chars > LONG_CHARS else write()


async def _read_body(stdout: asyncio.StreamReader) -> bytes:
    (size,) = frames.HEADER.unpack(await stdout.readexactly(frames.HEADER.size))
    return await stdout.readexactly(size)


def _reply(raw: frames.Payload) -> Reply:
    if raw["status"] == "ok":
        return Reply(Outcome.JUDGED, result=raw)
    outcome = Outcome.KILLED if raw["status"] == "killed" else Outcome.FAILED
    return Reply(outcome, reason=str(raw.get("reason")))
