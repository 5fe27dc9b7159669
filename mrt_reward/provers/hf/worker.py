"""The engine's one thread: traces are read one at a time, sampled answers of many of them grow side by side.

A proof waits until there is room for it. Where the answers under way come to need more room than there is, the youngest
proof is begun anew later; its answers are the same then. A model that cannot sample for several proofs at once answers
one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import cast

import torch

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import Proof, Proven, RolloutQuery
from mrt_reward.provers.hf.branches import MIN_ROOM
from mrt_reward.provers.hf.decoding import MAX_ANSWERS, Sampling, num_together
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.pulse import Pulse
from mrt_reward.provers.hf.selfcheck import ProvedModel
from mrt_reward.provers.hf.threads import begin


@dataclass(frozen=True, slots=True)
class Weights:
    """What answers at present, and the version that it answers for."""

    model: ProvedModel
    version: str


class _Left(Exception):
    """The caller has left, or the prover is closed."""


@dataclass(eq=False)
class _Task:
    """A proof that was asked for.

    Attributes:
        proof: what is asked.
        answered: done once it is answered; cancelled where its caller has left.
        num_columns: room that it came to need before it was begun anew.
        wasted: tokens that were run for it before that.
        apart: it is decoded with nothing beside it, because a step failed that it was part of.

    """

    proof: Proof
    answered: Future[Proven] = field(default_factory=Future[Proven])
    num_columns: int = 0
    wasted: int = 0
    apart: bool = False

    def room(self, query: RolloutQuery) -> tuple[int, int]:
        """Columns and answers that there must be room for, or it is not begun."""
        probes = self.proof.probes
        answers = min(len(probes), num_together(query)) * query.num_samples
        columns = len(self.proof.token_ids) + sum(len(probe.suffix) for probe in probes) + answers * MIN_ROOM
        return max(self.num_columns, columns), answers

    def tell(self, found: Proven | Exception) -> None:
        """Answer whoever asked, if anybody still waits."""
        if not self.answered.set_running_or_notify_cancel():
            return
        if isinstance(found, Proven):
            self.answered.set_result(found)
        else:
            self.answered.set_exception(found)


@dataclass(frozen=True, eq=False)
class _Running:
    """A task whose answers grow, and the model that they grow by."""

    task: _Task
    model: PackedModel
    sampling: Sampling


class ProverWorker:
    """Answers proofs in a thread of its own, so that a model is never called twice at once.

    Args:
        weights: the model that answers, and its version.
        pulse: beats while it works.
        num_threads: of one operation.
        max_columns: tokens of keys and values that sampled answers hold together; one proof alone may hold more.

    """

    def __init__(self, weights: Weights, pulse: Pulse, *, num_threads: int, max_columns: int) -> None:
        self._weights = weights
        self._pulse = pulse
        self._max_columns = max_columns
        device = cast("torch.device", weights.model.model.device)
        self._thread = ThreadPoolExecutor(1, "mrt-reward-prover", begin, (num_threads, device))
        self._waiting: deque[_Task] = deque()
        self._running: list[_Running] = []
        self._changing = Event()
        self._closing = Event()

    def prove(self, proof: Proof) -> Future[Proven]:
        """The answer to be; cancelling it ends the work between two passes.

        Raises:
            ProverUnavailable: the worker was closed.

        """
        task = _Task(proof)
        self._waiting.append(task)
        self._submit(self._work)
        return task.answered

    def change(self, weights: Weights) -> Future[None]:
        """Answer by these weights, once what is under way is answered by the old ones; one change at a time.

        It is over before what waits is begun: until then, nobody knows the version that the answers are of.
        """
        self._changing.set()

        def change() -> None:
            self._weights = weights
            self._changing.clear()

        changed = self._submit(change)
        self._submit(self._work)
        return changed

    def close(self) -> None:
        """Stop what runs and what waits, and wait for the thread's end."""
        self._closing.set()
        self._thread.shutdown()

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        try:
            return self._thread.submit(work)
        except RuntimeError as error:
            raise ProverUnavailable("the prover was closed") from error

    def _work(self) -> None:
        """Go on until all is answered, or until other weights are to be taken."""
        try:
            while self._running or (self._waiting and not self._changing.is_set()):
                self._pulse.begin()
                self._drop_those_left()
                self._admit()
                self._step()
        finally:
            self._pulse.end()

    def _drop_those_left(self) -> None:
        if self._closing.is_set():
            for task in (*(each.task for each in self._running), *self._waiting):
                task.tell(_closed())
            self._waiting.clear()
            self._running.clear()
        self._running = [each for each in self._running if not each.task.answered.cancelled()]

    def _admit(self) -> None:
        """Begin proofs while there is room; after one that is answered at once, those that grow have their turn."""
        while self._waiting and not self._changing.is_set() and self._has_room(self._waiting[0]):
            task = self._waiting.popleft()
            if not task.answered.cancelled() and not self._begin(task):
                return

    def _has_room(self, task: _Task) -> bool:
        query = task.proof.query
        if not self._running or not isinstance(query, RolloutQuery):
            return True
        columns, answers = task.room(query)
        columns += sum(each.sampling.num_columns for each in self._running)
        answers += sum(each.sampling.num_answers for each in self._running)
        apart = task.apart or self._running[0].task.apart
        return not apart and columns <= self._max_columns and answers <= MAX_ANSWERS

    def _begin(self, task: _Task) -> bool:
        """Read the trace, and answer what is not sampled side by side; returns whether answers grow now."""

        def pause() -> None:
            self._pulse.beat()
            if task.answered.cancelled() or self._closing.is_set():
                raise _Left

        model, query = self._weights.model, task.proof.query
        try:
            pause()
            if model.side_by_side is not None and isinstance(query, RolloutQuery):
                sampling = model.side_by_side.sample(task.proof, query, pause)
                self._running.append(_Running(task, model.side_by_side, sampling))
                return True
            answers, num_tokens = model.prove(task.proof, pause)
            self._tell(task, Proven(answers, self._weights.version, num_tokens))
        except _Left:
            self._tell(task, _closed())
        except Exception as error:  # noqa: BLE001 - raised to whoever asked
            self._tell(task, _failure(task.proof, error))
        return False

    def _step(self) -> None:
        """One token of all that grows, and the answers of what is through."""
        self._make_room()
        running = self._running
        if not running:
            return
        try:
            running[0].model.grow([each.sampling for each in running])
        except Exception as error:  # noqa: BLE001 - raised to whoever asked
            self._running = []
            if len(running) == 1:
                self._tell(running[0].task, _failure(running[0].task.proof, error))
            else:
                # Nobody knows whose fault it was: each is tried with nothing beside it.
                self._put_back(running, apart=True)
            return
        self._running = [each for each in running if each.sampling.growing is not None]
        for each in running:
            if each.sampling.growing is None:
                num_tokens = each.task.wasted + each.sampling.num_tokens
                self._tell(each.task, Proven(tuple(each.sampling.answers), self._weights.version, num_tokens))

    def _tell(self, task: _Task, found: Proven | Exception) -> None:
        if not self._running and not self._waiting:
            # Whoever gets the last answer sees the worker at rest.
            self._pulse.end()
        task.tell(found)

    def _make_room(self) -> None:
        """Put the youngest back while the next step needs more room than there is."""
        while len(self._running) > 1 and sum(each.sampling.num_columns for each in self._running) > self._max_columns:
            self._put_back([self._running.pop()])

    def _put_back(self, running: Sequence[_Running], *, apart: bool = False) -> None:
        """Let them be begun anew, before all others that wait."""
        for each in reversed(running):
            each.task.num_columns = each.sampling.num_columns
            each.task.wasted += each.sampling.num_tokens
            each.task.apart = each.task.apart or apart
            self._waiting.appendleft(each.task)


def _closed() -> ProverUnavailable:
    return ProverUnavailable("the prover was closed while it worked")


def _failure(proof: Proof, error: Exception) -> Exception:
    """The error that the caller gets."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        # A CPU that runs out of memory says so in words only.
        isinstance(error, RuntimeError) and "alloc" in str(error) and "memory" in str(error)
    ):
        failure = ProverError(
            f"out of memory on a trace of {len(proof.token_ids)} tokens and {len(proof.probes)} probes: shorten it, "
            f"lower max_model_len or max_kv_tokens, or use a device with more memory ({error})",
            code="out_of_memory",
        )
    elif isinstance(error, RuntimeError):
        failure = ProverError(f"the engine failed on this trace: {error}")
    else:
        return error
    failure.__cause__ = error
    return failure
