"""Traces as they were sent, to traces scored: one that cannot be read gets an error and fails no other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import cast

from mrt_reward.errors import MRTRewardError, TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wire import EpisodesOut, EpisodesResponse, refuse

IndexedTrace = tuple[int, ScoredTrace]


def failed(trace: Trace, error: MRTRewardError) -> ScoredTrace:
    """A trace that got no score, and why."""
    return ScoredTrace(trace.id, Status.ERROR, metadata=trace.metadata, error=ErrorInfo.of(error))


class NewNotes:
    """What holds for many traces of a reply, each said once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, notes: Iterable[str]) -> list[str]:
        """Those that were not said yet."""
        fresh = [note for note in dict.fromkeys(notes) if note not in self._said]
        self._said.update(fresh)
        return fresh


def notes_of(scored: Iterable[ScoredTrace]) -> list[str]:
    """The notes of a whole reply, each once."""
    return NewNotes().new(note for trace in scored for note in trace.notes)


def read_traces(asked: Sequence[Trace]) -> list[Trace | TraceError]:
    """Each trace as the pipeline takes it, or what is wrong with it."""
    seen: set[str] = set()

    def read(trace: Trace) -> Trace | TraceError:
        try:
            refuse(trace)
        except TraceError as error:
            return error
        if trace.id in seen:
            return TraceError(
                f"id {trace.id[:100]!r} is there twice: give each trace of a request its own",
                code="duplicate_id",
                param="id",
            )
        seen.add(trace.id)
        return trace

    return [read(trace) for trace in asked]


async def score_each(
    scorer: Scorer, asked: Sequence[Trace], options: ScoreOptions, count: Callable[[ScoredTrace], None]
) -> AsyncGenerator[IndexedTrace]:
    """Each trace with its index as soon as it is scored; raises as `Scorer.stream` does.

    Args:
        scorer: the pipeline that scores.
        asked: in the order of the request.
        options: how to score.
        count: called for every trace.

    """
    read = read_traces(asked)
    indices = [index for index, trace in enumerate(read) if isinstance(trace, Trace)]
    traces = [trace for trace in read if isinstance(trace, Trace)]
    if traces:
        async with aclosing(cast("AsyncGenerator[IndexedTrace]", scorer.stream(traces, options))) as stream:
            async for index, scored in stream:
                count(scored)
                yield indices[index], scored
    # Last, because the first line sent settles the reply's status, which a full queue must still be able to choose.
    for index, error in enumerate(read):
        if isinstance(error, TraceError):
            scored = failed(asked[index], error)
            count(scored)
            yield index, scored


async def segment_each(scorer: Scorer, asked: Sequence[Trace], options: ScoreOptions) -> EpisodesResponse:
    """Each trace cut into episodes, or what is wrong with it; raises as `Scorer.segment_all` does."""
    read = read_traces(asked)
    found = iter(await scorer.segment_all([trace for trace in read if isinstance(trace, Trace)], options))
    said_once = NewNotes()
    traces: list[EpisodesOut] = []
    notes: list[str] = []
    for trace, sent in zip(asked, read, strict=True):
        cut = sent if isinstance(sent, TraceError) else next(found)
        if isinstance(cut, TraceError):
            traces.append(EpisodesOut(id=trace.id, episodes=[], warnings=[], error=ErrorInfo.of(cut)))
        else:
            notes += said_once.new(cut.notes)
            traces.append(
                EpisodesOut(id=trace.id, episodes=list(cut.episodes), warnings=list(cut.warnings), error=None)
            )
    return EpisodesResponse(traces=traces, notes=notes)
