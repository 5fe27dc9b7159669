"""From problems, or from the problems of traces, to a model's direct answers in `results.jsonl`; resumable.

One unit of work is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mrt_reward.errors import MRTRewardError, ProverUnavailable
from mrt_reward.evaluation.direct import DirectSpec, answer_directly, as_problem
from mrt_reward.evaluation.folder import RESULTS, Folder, Log
from mrt_reward.evaluation.record import all_but_failures, line_key, record
from mrt_reward.evaluation.result import Direct, Evaluation
from mrt_reward.evaluation.run import ProblemRow, RunCounts
from mrt_reward.evaluation.traces import problem_name
from mrt_reward.evaluation.workers import in_parallel
from mrt_reward.protocols import grader_of
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace


class DirectRun:
    """One model's direct answers to the problems of some rows.

    Args:
        folder: to write to.
        model: name of the model that answers.
        rows: problems or traces; those that could not be read are left to `Run`, which counts them.

    Attributes:
        todo: problems without a line yet, so that an engine need not be built for nothing.
        counts: what was done, in problems.

    """

    def __init__(self, folder: Folder, model: str, rows: Iterable[ProblemRow]) -> None:
        self._model = model
        self._results = Log(folder.path / RESULTS, keep=all_but_failures(model, direct=True))
        done = {line_key(fields) for _, fields in self._results.lines()}
        asked: dict[str, Trace] = {}
        for row in rows:
            if row.trace is not None:
                name = problem_name(row.trace, row.id)
                asked.setdefault(name, as_problem(row.trace, name))
        self.todo: Sequence[Trace] = [trace for trace in asked.values() if (model, trace.id) not in done]
        self.counts = RunCounts(already=len(asked) - len(self.todo))

    async def __call__(self, scorer: Scorer, spec: DirectSpec, tell: Callable[[], None]) -> RunCounts:
        """Answer what is to do.

        Args:
            scorer: whose engine answers.
            spec: how.
            tell: called for each problem that is done with.

        Raises:
            ProverUnavailable: the engine is gone; what was finished is written.
            ConfigError: there is no such grader.

        """
        grader = grader_of(spec.grader, scorer.graders)

        async def answer(problem: Trace) -> None:
            direct = Direct()
            try:
                scored, direct = await answer_directly(scorer, problem, spec, grader)
                self.counts.scored += 1
            except ProverUnavailable:
                raise
            except MRTRewardError as error:
                info = ErrorInfo.of(error)
                scored = ScoredTrace(problem.id, Status.ERROR, error=info)
                self.counts.failed += 1
                self.counts.first_failure = self.counts.first_failure or f"{problem.id}: {info.message}"
            about = Evaluation(self._model, problem.group or problem.id, direct=direct)
            self._results.add(record(replace(problem, completion=""), scored, evaluation=about))
            tell()

        await in_parallel(iter(self.todo), answer)
        return self.counts

    def close(self) -> None:
        """Close the file of results."""
        self._results.close()
