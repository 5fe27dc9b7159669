"""A user's own grading function, in workers that can be killed."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from mrt_reward.graders.answers import whole_text
from mrt_reward.graders.frames import Payload
from mrt_reward.graders.math import MEMORY_MB, NUM_WORKERS, TIMEOUT_S
from mrt_reward.graders.pool import Outcome, Reply, WorkerPool
from mrt_reward.protocols import GradeItem, Party, asking_party
from mrt_reward.types import Grade, Verdict

FUNCTION_PATH = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


class FunctionGrader:
    """Calls `function(completion: str, answers: list[str], problem: str)` of `module:function`.

    The function returns True or False, or a number in [0, 1] where `scores` says so. What it raises, and None, means
    that it could not judge (UNGRADED). An item that twice outlasts the limits, while one that was judged before still
    is, is a miss. The function runs in a worker process, never in the server's.
    """

    needs_answer = False

    def __init__(
        self,
        path: str,
        *,
        scores: bool = False,
        num_workers: int = NUM_WORKERS,
        timeout_s: float = TIMEOUT_S,
        memory_mb: int = MEMORY_MB,
    ) -> None:
        match = FUNCTION_PATH.fullmatch(path)
        if match is None:
            raise ValueError(f"expected module:function, got {path!r}")
        self._scores = scores
        self._pool = WorkerPool(path, num_workers=num_workers, timeout_s=timeout_s, memory_mb=memory_mb)
        self._known_good: Payload | None = None
        source = find_source(match["module"])
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source else "unknown"
        kind = "score" if scores else "function"
        self._identity = f"{kind}:{path},source={digest},timeout_s={timeout_s:g},memory_mb={memory_mb}"

    @property
    def identity(self) -> str:
        """The function, a hash of its module's source, and the limits."""
        return self._identity

    @property
    def binary(self) -> bool:
        """Whether it returns True or False."""
        return not self._scores

    @property
    def num_kills(self) -> Mapping[str, int]:
        """By reason; see `WorkerPool.num_kills`."""
        return self._pool.num_kills

    @property
    def pool(self) -> WorkerPool:
        """The pool of worker processes."""
        return self._pool

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        party = asking_party()
        return await asyncio.gather(*(self._grade(item, party) for item in items))

    async def close(self) -> None:
        """Stop the workers."""
        await self._pool.close()

    def _probes(self) -> tuple[Payload, ...]:
        return () if self._known_good is None else (self._known_good,)

    async def _grade(self, item: GradeItem, party: Party) -> Grade:
        payload = {"completion": whole_text(item), "answers": list(item.answers), "problem": item.problem}
        reply = await self._pool.judge(payload, self._probes, party)
        if reply.outcome is Outcome.JUDGED:
            self._known_good = payload
        return function_grade(reply, scores=self._scores)


def function_grade(reply: Reply, *, scores: bool) -> Grade:
    """The grade of a function's reply."""
    if reply.outcome is not Outcome.JUDGED:
        verdict = Verdict.UNPARSED if reply.outcome is Outcome.KILLED else Verdict.UNGRADED
        return Grade(verdict, reason=reply.reason)
    score = float(str(reply.result["score"]))
    if scores:
        return score_grade(score)
    if score not in (0.0, 1.0):
        reason = f"the function returned {score:g}; a grader of scores is written score:module:function"
        return Grade(Verdict.UNGRADED, reason=reason)
    return Grade(Verdict.CORRECT if score == 1.0 else Verdict.INCORRECT)


def score_grade(score: float) -> Grade:
    """A score in [0, 1] as a grade; the verdict is its side of one half."""
    return Grade(Verdict.CORRECT if score >= 0.5 else Verdict.INCORRECT, score=score)


def find_source(module: str) -> Path | None:
    """The file of a module, found without importing anything; None when there is none."""
    path: Sequence[str] | None = [*sys.path, str(Path.cwd())]
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = None if path is None else PathFinder.find_spec(".".join(parts[:end]), list(path))
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if end == len(parts) and spec.origin is not None:
            return Path(spec.origin)
    return None
