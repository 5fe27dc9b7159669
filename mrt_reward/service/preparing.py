"""Traces made ready in a thread, a piece at a time, so that whoever leaves ends the work soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mrt_reward.errors import TraceError
from mrt_reward.service.jobs import Job
from mrt_reward.types import Episode, Trace

PIECE_CHARS = 100_000
"""What a thread tokenizes before it is known whether anybody still waits."""

MAX_EPISODES_AT_ONCE = 250_000
"""Of all traces of a request: what one reply can hold without harm to other callers."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """Where a trace's thinking is cut, without values."""

    id: str
    episodes: tuple[Episode, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()


Made = TypeVar("Made", Job, Segmented)


async def each_prepared(traces: Sequence[Trace], work: Callable[[Trace], Made]) -> list[Made | TraceError]:
    """What `work` makes of each trace, or what is wrong with the trace.

    Cancelling it ends the work with the piece that is under way.

    Raises:
        TraceError: the traces have more than `MAX_EPISODES_AT_ONCE` episodes in all.

    """

    def made(trace: Trace) -> Made | TraceError:
        try:
            return work(trace)
        except TraceError as error:
            return error

    def all_made(piece: Sequence[Trace]) -> list[Made | TraceError]:
        return [made(trace) for trace in piece]

    done: list[Made | TraceError] = []
    num_episodes = 0
    for piece in _pieces(traces):
        new = await asyncio.to_thread(all_made, piece)
        num_episodes += sum(len(each.episodes) for each in new if not isinstance(each, TraceError))
        if num_episodes > MAX_EPISODES_AT_ONCE:
            raise TraceError(
                f"the traces of this request have more than {MAX_EPISODES_AT_ONCE} episodes: send fewer traces at "
                "once, or set max_episodes",
                code="too_many_episodes",
                param="options.segmenter",
            )
        done += new
    return done


def _pieces(traces: Sequence[Trace]) -> Iterator[list[Trace]]:
    """The traces in order, `PIECE_CHARS` or a single one at a time."""
    piece: list[Trace] = []
    num_chars = 0
    for trace in traces:
        ids = (each for each in (trace.prompt_ids, trace.completion_ids) if each is not None)
        texts = (trace.completion, trace.problem, trace.prompt, *(turn.content for turn in trace.messages or ()))
        size = sum(map(len, ids)) + sum(len(text) for text in texts if text is not None)
        if piece and num_chars + size > PIECE_CHARS:
            yield piece
            piece, num_chars = [], 0
        piece.append(trace)
        num_chars += size
    if piece:
        yield piece
