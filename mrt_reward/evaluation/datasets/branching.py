"""Asks an engine how else a trace could have gone on: continuations of its prefixes, and what they are worth.

The engine is the policy here: nothing forces an answer, it goes on thinking from the prefix's own tokens. One more
episode of a continuation is an alternative step, scored as the others were; a finished continuation is graded, and
the share of right ones is the policy's own value.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from mrt_reward.core.episodes import Thinking, spans_after
from mrt_reward.core.values import rollout_value
from mrt_reward.errors import ConfigError, ProverError, TraceError
from mrt_reward.evaluation.pool import why_unusable
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.states import EpisodeAt
from mrt_reward.options import ExplicitSegmenter, ScoreOptions, TokenSegmenter
from mrt_reward.protocols import GradeItem, RolloutQuery, Tokenizer, grader_of
from mrt_reward.ranges import check_ranges, option
from mrt_reward.service.encoding import encode_trace, problem_text
from mrt_reward.service.sample import sample
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Grade, Status, Trace, Value, Verdict

CONCURRENCY = 64
"""Prefixes that are continued at once."""

OnProgress = Callable[[int, int], None]
"""Called with (prefixes done, prefixes in all)."""


def _silent(done: int, total: int) -> None:
    del done, total


@dataclass(frozen=True, slots=True)
class BranchSettings:
    """How a policy is continued.

    Draws of a prefix depend on the seed and on the prefix's index in the call.

    Attributes:
        num_samples: continuations of a prefix.
        top_p: nucleus.

    Raises:
        ValueError: a field is outside its range.

    """

    num_samples: Annotated[int, Ge(1)] = 4
    temperature: Annotated[float, Gt(0)] = option(1.0, "Sampling temperature of continuations.")
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    max_tokens: Annotated[int, Ge(1)] = option(2048, "Most tokens of one continuation.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of the continuations.")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class Point:
    """A prefix `z[:index]` of a trace, from which to go on."""

    trace: Result
    index: int

    @property
    def head(self) -> str:
        """The completion up to there, delimiter included."""
        return self.trace.completion[: self.trace.char_at(self.index)]


@dataclass(frozen=True, slots=True)
class Continuation:
    """How the policy went on.

    Attributes:
        point: from where.
        text: what it wrote.
        verdict: of the finished trace; a trace that ended while thinking has no answer, which is a miss.

    """

    point: Point
    text: str
    verdict: Verdict


class Brancher:
    """Continues prefixes on an engine.

    Args:
        scorer: scores what was sampled, on the engine that samples.
        tokenizer: the engine's.
        options: the ones that the pool was scored with.
        settings: how to sample.

    Raises:
        ConfigError: episodes are where the caller says (`explicit`), so that the end of a new one is nowhere.

    """

    def __init__(
        self, scorer: Scorer, tokenizer: Tokenizer, options: ScoreOptions, settings: BranchSettings = BranchSettings()
    ) -> None:
        if isinstance(options.segmenter, ExplicitSegmenter):
            raise ConfigError("alternatives need a segmenter that tells where an episode ends: not `explicit`")
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._options = options
        self._settings = settings
        self.counts: Counter[str] = Counter()
        """What became of the continuations, by kind."""

    async def texts(self, points: Sequence[Point], progress: OnProgress = _silent) -> list[Sequence[str]]:
        """What the policy writes after each prefix; nothing where the engine failed, which is counted."""
        gate, done = asyncio.Semaphore(CONCURRENCY), 0

        async def continued(number: int, point: Point) -> Sequence[str]:
            nonlocal done
            async with gate:
                try:
                    texts = await self._sample(number, point)
                except (ProverError, TraceError):
                    self.counts["prefixes that the engine could not continue"] += 1
                    texts = ()
            done += 1
            progress(done, len(points))
            return texts

        return await asyncio.gather(*(continued(number, point) for number, point in enumerate(points)))

    async def _sample(self, number: int, point: Point) -> Sequence[str]:
        encoded = encode_trace(point.trace.trace, self._tokenizer, self._options.delimiters)
        # A cut lies where a token ends, because episodes were aligned to tokens.
        num_tokens = int(np.searchsorted(encoded.char_ends, point.trace.char_at(point.index), side="left")) + 1
        ids = np.concatenate([encoded.context, encoded.thinking_ids[: num_tokens if point.index else 0]])
        chosen = self._settings
        query = RolloutQuery(
            chosen.num_samples, chosen.temperature, chosen.top_p, chosen.max_tokens, stop_at_close=False
        )
        seed = int(np.random.SeedSequence([chosen.seed, number]).generate_state(1)[0])
        proven = await sample(self._scorer, ids, query, seed)
        return [self._tokenizer.decode(ids) for ids in proven.answers[0].completions]

    async def steps(self, points: Sequence[Point], progress: OnProgress = _silent) -> list[EpisodeAt]:
        """Alternative steps: the first episode of each continuation, each distinct one once, scored as the pool was."""
        asked: list[tuple[Point, Trace]] = []
        for point, texts in zip(points, await self.texts(points, progress), strict=True):
            first = {self._first_episode(point, text) for text in texts}
            asked += [(point, _branch(point, text, number)) for number, text in enumerate(sorted(first - {""}))]
        self.counts["alternatives scored"] += len(asked)
        options = replace(self._options, segmenter=ExplicitSegmenter("explicit"))
        found: list[EpisodeAt] = []
        for start in range(0, len(asked), CONCURRENCY):
            chunk = asked[start : start + CONCURRENCY]
            for (point, trace), scored in zip(
                chunk, await self._scorer.score([trace for _, trace in chunk], options), strict=True
            ):
                step = Result((trace, scored))
                whole = why_unusable(step) is None and scored.status is Status.OK
                if whole and step.num_episodes == point.index + 1:
                    found.append(EpisodeAt(step, point.index))
                else:
                    self.counts["alternatives that could not be scored"] += 1
        return found

    def _first_episode(self, point: Point, text: str) -> str:
        """The text up to where the next episode would start; empty where that was not reached."""
        close = self._options.delimiters.close
        thought, closed, _ = text.partition(close) if close else (text, "", "")
        at, whole = len(point.head), point.head + thought
        segmenter = self._options.segmenter
        if isinstance(segmenter, TokenSegmenter | ExplicitSegmenter):
            ends = [len(whole)]
        else:
            start = point.trace.char_at(0)
            thinking = Thinking(start, len(whole), bool(closed), len(whole), opened_by_text=start > 0)
            ends = [span.end for span in spans_after(whole, thinking, segmenter, at)]
        later = [end for end in ends if end > at]
        if not thought.strip() or not later:
            self.counts["continuations that stop thinking at once"] += 1
            return ""
        if later[0] == len(whole) and not closed:
            self.counts["continuations cut off within their first episode"] += 1
            return ""
        return whole[at : later[0]]

    async def finished(self, points: Sequence[Point], progress: OnProgress = _silent) -> list[list[Continuation]]:
        """Each prefix continued to the end, and graded."""
        texts = await self.texts(points, progress)
        return [
            await self._graded(point, sampled) if sampled else [] for point, sampled in zip(points, texts, strict=True)
        ]

    async def _graded(self, point: Point, texts: Sequence[str]) -> list[Continuation]:
        trace, close = point.trace.trace, self._options.delimiters.close
        answers = [text.partition(close)[2] if close else text for text in texts]
        cut_off = [bool(close) and close not in text for text in texts]
        items = [GradeItem(answer, trace.answer, problem_text(trace)) for answer in answers]
        grades: Sequence[Grade] = await grader_of(self._options.grader, self._scorer.graders).grade(items)
        return [
            Continuation(point, text, Verdict.UNPARSED if cut else grade.verdict)
            for text, cut, grade in zip(texts, cut_off, grades, strict=True)
        ]


def policy_value(continuations: Sequence[Continuation]) -> Value:
    """The policy's own success rate from a prefix: the share of its continuations that end right."""
    return rollout_value([each.verdict for each in continuations])


def _branch(point: Point, text: str, number: int) -> Trace:
    """The prefix and one new episode, as a trace whose episodes are given."""
    starts = tuple(point.trace.char_at(index) for index in range(point.index + 1))
    return replace(
        point.trace.trace,
        id=f"{point.trace.trace.id}~{point.index}.{number}",
        completion=point.head + text,
        completion_ids=None,
        episode_starts=starts,
        outcome=None,
    )
