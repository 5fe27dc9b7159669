"""From problems or traces to `results.jsonl`: sample, extend, score, write; and go on where it was stopped.

One unit of work is a problem, or some given traces. What a unit finishes is written at once, so that a kill costs only
what was in the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mrt_reward.errors import NO_THINKING, ConfigError, MRTRewardError, ProverUnavailable, TraceError
from mrt_reward.evaluation.folder import RESULTS, TRACES, Folder, Log
from mrt_reward.evaluation.forcing import ForcingSpec, extend
from mrt_reward.evaluation.record import all_but_failures, line_key, record, with_short_answers
from mrt_reward.evaluation.result import Evaluation
from mrt_reward.evaluation.sampling import SamplingSpec, sample_traces
from mrt_reward.evaluation.traces import problem_name
from mrt_reward.evaluation.workers import in_parallel
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wire import TRACE_FIELDS, sound_trace, trace_fields

MAX_TRACES = 32
"""Given traces in one unit."""


class ProblemRow(Protocol):
    """One line of input, read leniently."""

    @property
    def id(self) -> str:
        """Unique in the input."""
        ...

    @property
    def trace(self) -> Trace | None:
        """A problem if it has no completion; None where the line could not be read."""
        ...

    @property
    def extra(self) -> Mapping[str, object]:
        """Columns that are not ours; `model`, `sampled_tokens` and `truncated` are known here."""
        ...

    @property
    def error(self) -> TraceError | None:
        """Why the line could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What to do with each row.

    Attributes:
        model: name of the model, for traces that name none.
        options: of scoring.
        sampling: of problems.
        forcing: beyond the end of each trace; None leaves traces as they are.

    """

    model: str
    options: ScoreOptions
    sampling: SamplingSpec
    forcing: ForcingSpec | None = None


@dataclass
class RunCounts:
    """What was done, for the closing lines.

    Attributes:
        sampled: traces sampled now.
        scored: traces scored now; `partial` of them with a missing value.
        unthinking: traces that failed because they do not think.
        failed: traces or problems without any value; `first_failure` describes the first.
        already: traces that were there.

    """

    sampled: int = 0
    scored: int = 0
    partial: int = 0
    unthinking: int = 0
    failed: int = 0
    already: int = 0
    first_failure: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A trace to score, and what is known of how it came about."""

    trace: Trace
    about: Evaluation
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


class Run:
    """One evaluation.

    Args:
        scorer: whose engine samples and proves.
        folder: to write to.
        plan: what to do.
        tell: called with the number of traces that were just finished, whether now or earlier.

    Attributes:
        counts: what was done.

    """

    def __init__(self, scorer: Scorer, folder: Folder, plan: RunPlan, tell: Callable[[int], None]) -> None:
        self._scorer = scorer
        self._plan = plan
        self._tell = tell
        self._traces = Log(folder.path / TRACES)
        self._results = Log(folder.path / RESULTS, keep=all_but_failures(plan.model, direct=False))
        self._done = {
            line_key(fields) for _, fields in self._results.lines() if fields.get("status") != Status.ERROR.value
        }
        self._sampled = {
            str(fields["id"]): offset for offset, fields in self._traces.lines() if fields.get("model") == plan.model
        }
        self.counts = RunCounts()

    async def __call__(self, rows: Iterable[ProblemRow]) -> RunCounts:
        """Do all of it.

        Raises:
            ProverUnavailable: the engine is gone; what was finished is written.
            ConfigError: the options name a grader that is not there.

        """

        async def work(unit: Item | list[Item]) -> None:
            await (self._problem(unit) if isinstance(unit, Item) else self._given(unit))

        try:
            await in_parallel(self._units(rows), work)
        finally:
            self._traces.close()
            self._results.close()
        return self.counts

    def _units(self, rows: Iterable[ProblemRow]) -> Iterator[Item | list[Item]]:
        """A problem by itself, given traces by the dozen; what could not be read is written down on the way."""
        given: list[Item] = []
        for row in rows:
            item = self._item(row)
            if item is None:
                continue
            if item.trace.completion is None and item.trace.completion_ids is None:
                yield item
            else:
                given.append(item)
            if len(given) == MAX_TRACES:
                yield given
                given = []
        if given:
            yield given

    def _item(self, row: ProblemRow) -> Item | None:
        model = str(row.extra.get("model") or self._plan.model)
        if row.trace is None:
            error = row.error or TraceError("the line could not be read")
            self._fail(Item(Trace(row.id), Evaluation(model, row.id), row.extra), error, readable=False)
            return None
        tokens, truncated = row.extra.get("sampled_tokens"), row.extra.get("truncated")
        about = Evaluation(
            model,
            problem_name(row.trace, row.id),
            sampled_tokens=tokens if isinstance(tokens, int) else None,
            truncated=truncated if isinstance(truncated, bool) else None,
        )
        ours = {"model", "sampled_tokens", "truncated"}
        return Item(row.trace, about, {name: value for name, value in row.extra.items() if name not in ours})

    async def _given(self, items: Sequence[Item]) -> None:
        todo = [item for item in items if (item.about.model, item.trace.id) not in self._done]
        self._skip(len(items) - len(todo))
        await self._score(todo)

    async def _problem(self, item: Item) -> None:
        """Sample a problem, or find what was sampled of it, and score what is not scored yet."""
        names = [f"{item.trace.id}/{index}" for index in range(self._plan.sampling.num_traces)]
        todo = {name for name in names if (item.about.model, name) not in self._done}
        self._skip(len(names) - len(todo))
        if not todo:
            return
        try:
            self._refuse_unanswerable(item.trace)
            if not todo <= set(self._sampled):
                await self._sample(item, names)
        except (ProverUnavailable, ConfigError):
            raise
        except MRTRewardError as error:
            self._fail(item, error, num_traces=len(todo))
            return
        await self._score([self._read_back(item, name) for name in names if name in todo])

    def _refuse_unanswerable(self, trace: Trace) -> None:
        options = self._plan.options
        grader = grader_of(options.grader, self._scorer.graders)
        if isinstance(options.estimator, Rollouts) and options.estimator.mean_samples is not None:
            raise ConfigError(
                "an evaluation reports raw values, which answers given in rounds would bias: leave out mean_samples",
                param="options.estimator.mean_samples",
            )
        if not trace.answer and (not isinstance(options.estimator, Rollouts) or grader.needs_answer):
            raise TraceError(
                "the problem has no answer to grade with: give `answer`, or a grader that needs none",
                code="no_answer",
                param="answer",
            )

    async def _sample(self, item: Item, names: Sequence[str]) -> None:
        sampled = await sample_traces(self._scorer, replace(item.trace, completion=None), self._plan.sampling)
        for name, one in zip(names, sampled, strict=True):
            if name in self._sampled:
                continue
            fields = trace_fields(replace(one.trace, metadata={}))
            about = {"model": item.about.model, "sampled_tokens": one.num_tokens, "truncated": one.truncated}
            self._sampled[name] = self._traces.add({**fields, **about})
            self.counts.sampled += 1

    def _read_back(self, item: Item, name: str) -> Item:
        """A sampled trace from the file: memory holds where it is, and no text."""
        fields = self._traces.at(self._sampled[name])
        known = {field: value for field, value in fields.items() if field in TRACE_FIELDS}
        about = replace(item.about, sampled_tokens=fields["sampled_tokens"], truncated=fields["truncated"])
        return Item(sound_trace(known), about, item.extra)

    async def _score(self, items: Sequence[Item]) -> None:
        if not items:
            return
        if self._plan.forcing is not None:
            items = await asyncio.gather(*(self._extended(item, self._plan.forcing) for item in items))
        traces = [item.trace for item in items]
        async for index, scored in self._scorer.stream(traces, self._plan.options):
            if scored.error is not None and scored.error.code == ProverUnavailable.code:
                # The engine is gone: every other trace would fail as this one.
                raise ProverUnavailable(scored.error.message)
            self._write(items[index], scored)

    async def _extended(self, item: Item, spec: ForcingSpec) -> Item:
        """With its extension; as it is where it cannot be extended, for which the report counts the extended ones."""
        try:
            extension = await extend(self._scorer, item.trace, self._plan.options, spec)
        except ProverUnavailable:
            raise
        except MRTRewardError:
            return item
        values = tuple(self._shortened(ScoredTrace("", Status.OK, values=extension.values)).values)
        return replace(item, about=replace(item.about, extension=replace(extension, values=values)))

    def _shortened(self, scored: ScoredTrace) -> ScoredTrace:
        boxed = self._plan.options.resolved_terminator().answer == "boxed"
        return replace(scored, values=tuple(with_short_answers(value, boxed_prefix=boxed) for value in scored.values))

    def _write(self, item: Item, scored: ScoredTrace) -> None:
        if scored.error is not None:
            self.counts.failed += 1
            self.counts.unthinking += scored.error.code == NO_THINKING
            self.counts.first_failure = self.counts.first_failure or f"{scored.id}: {scored.error.message}"
        else:
            self.counts.scored += 1
            self.counts.partial += scored.status is Status.PARTIAL
        self._results.add(record(item.trace, self._shortened(scored), item.extra, item.about, self._plan.options))
        self._tell(1)

    def _fail(self, item: Item, error: MRTRewardError, *, readable: bool = True, num_traces: int = 1) -> None:
        """Write down that a row, or all traces of a problem, came to nothing."""
        info = ErrorInfo.of(error)
        scored = ScoredTrace(item.trace.id, Status.ERROR, error=info)
        self.counts.failed += 1
        self.counts.first_failure = self.counts.first_failure or f"{scored.id}: {info.message}"
        trace = replace(item.trace, completion=item.trace.completion or "") if readable else None
        self._results.add(record(trace, scored, item.extra, item.about))
        self._tell(num_traces)

    def _skip(self, num_traces: int) -> None:
        self.counts.already += num_traces
        if num_traces:
            self._tell(num_traces)
