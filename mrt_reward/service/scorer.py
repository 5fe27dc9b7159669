"""The pipeline: trace → episodes → prefixes → (prover, grader) → values → progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import structlog

from mrt_reward.core.progress import with_progress
from mrt_reward.errors import ConfigError, MRTRewardError, ProverError, ProverUnavailable, TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import (
    CachesPrefixes,
    EndpointState,
    Grader,
    PrefixHits,
    Prover,
    ProverInfo,
    Replicated,
    Supervised,
    Tokenizer,
    WeightsCanary,
    WeightsKind,
)
from mrt_reward.service.activity import Activity
from mrt_reward.service.answering import Answering, VersionChanged
from mrt_reward.service.bounded import BoundedTokenizer
from mrt_reward.service.cache import ScoreCache
from mrt_reward.service.canary import Canary
from mrt_reward.service.encoding import finished_of, problem_text
from mrt_reward.service.estimators import Speller, resolved
from mrt_reward.service.false_progress import FalseProgress
from mrt_reward.service.finishing import as_finished
from mrt_reward.service.jobs import Job, prepare, segment
from mrt_reward.service.outcomes import JudgedOutcome, judged, needs_grading
from mrt_reward.service.preparing import Segmented, each_prepared
from mrt_reward.service.queue import ProofQueue, QueueLimits
from mrt_reward.service.timed_grader import TimedGrader
from mrt_reward.service.weights import WeightsLoader
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace

MAX_VERSION_RETRIES = 3
MAX_SEGMENTED_TOKENS = 262_144
"""Longest trace that is only cut into episodes, where the prover's context is shorter."""
MAX_CLOSE_S = 30.0
"""For the prover, and for each grader, to end what it does."""

logger = structlog.stdlib.get_logger(__name__)


class Scorer:
    """Scores traces; one per server, shared by all requests.

    Args:
        prover: the engine; owned, and closed with the scorer.
        graders: by the names that `ScoreOptions.grader` may give, the default first; owned.
        speller: gives the accepted spellings of a gold answer.
        cache: known values.
        limits: on the work that is taken.

    """

    def __init__(
        self,
        prover: Prover,
        graders: Mapping[str, Grader],
        speller: Speller,
        *,
        cache: ScoreCache | None = None,
        limits: QueueLimits | None = None,
    ) -> None:
        if not graders:
            raise ConfigError("expected at least one grader, got none", param="graders")
        self._prover = prover
        self._graders = dict(graders)
        self._speller = speller
        self.cache = cache or ScoreCache()
        self.queue = ProofQueue(prover, limits)
        self.canary = Canary(prover, self.queue)
        self.activity = Activity()
        self.weights = WeightsLoader(prover)
        self.false_progress = FalseProgress(self.score, lambda: self.info.version)
        self.on_graded: Callable[[str, float], None] = lambda _grader, _seconds: None
        """Called for each batch of answers that was judged: the grader's name, and the seconds that it took."""

    @property
    def info(self) -> ProverInfo:
        """Who proves at present."""
        return self._prover.info

    @property
    def endpoints(self) -> Sequence[EndpointState]:
        """Servers that prove for it; none where the engine is in this process."""
        return self._prover.endpoints if isinstance(self._prover, Replicated) else ()

    async def prefix_cache(self) -> PrefixHits | None:
        """What the engine's own cache of prefixes had; None where it has none, or does not tell."""
        return await self._prover.prefix_cache() if isinstance(self._prover, CachesPrefixes) else None

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the prover."""
        return self._prover.tokenizer

    @property
    def _bounded(self) -> Tokenizer:
        return BoundedTokenizer(self._prover.tokenizer, self.info.max_tokens)

    @property
    def tokenizer_sha256(self) -> str:
        """Of the prover's tokenizer.json."""
        return self._prover.tokenizer.sha256

    @property
    def graders(self) -> Mapping[str, Grader]:
        """By the names that `ScoreOptions.grader` may give, the default first."""
        return self._graders

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self.activity.draining

    async def stream(self, traces: Sequence[Trace], options: ScoreOptions) -> AsyncIterator[tuple[int, ScoredTrace]]:
        """Each trace, with its index in `traces`, as soon as it is scored. Closing the iterator stops the rest.

        Raises:
            Overloaded: the queue is full; nothing was started.
            Draining: the service is shutting down.
            ProverUnavailable: the prover's values are not what they were.
            TraceError: the options name a grader that is not there, or the traces have too many episodes in all.

        """
        grader = self._grader(options)
        options = resolved(options, self.info)
        self.canary.refuse_if_wrong()
        with self.activity.one_more():
            # An overloaded server should not spend its time tokenizing what it will refuse.
            with self.queue.admitted(1):
                jobs = await each_prepared(
                    traces, lambda trace: prepare(trace, options, self._bounded, grader, self._speller)
                )
            num_tokens = sum(job.num_tokens for job in jobs if isinstance(job, Job))
            with self.queue.admitted(num_tokens):
                scorings = (
                    self._score_at(index, trace, job, options, grader)
                    for index, (trace, job) in enumerate(zip(traces, jobs, strict=True))
                )
                async with aclosing(as_finished(scorings, num_tokens)) as finished:
                    async for each in finished:
                        yield each

    async def score(self, traces: Sequence[Trace], options: ScoreOptions | None = None) -> tuple[ScoredTrace, ...]:
        """All traces, in their order; raises as `stream` does."""
        scored = {index: trace async for index, trace in self.stream(traces, options or ScoreOptions())}
        return tuple(scored[index] for index in range(len(traces)))

    async def segment_all(self, traces: Sequence[Trace], options: ScoreOptions) -> list[Segmented | TraceError]:
        """Episodes of each trace; raises as `stream` does where the service takes no work."""
        with self.activity.one_more(), self.queue.admitted(1):
            return await each_prepared(traces, lambda trace: self.segment(trace, options))

    def segment(self, trace: Trace, options: ScoreOptions) -> Segmented:
        """Episodes only.

        Raises:
            TraceError: the trace cannot be segmented as it was sent.

        """
        tokenizer = BoundedTokenizer(self._prover.tokenizer, max(self.info.max_tokens, MAX_SEGMENTED_TOKENS))
        encoded, episodes = segment(trace, options, tokenizer)
        return Segmented(trace.id, episodes, encoded.warnings, encoded.notes)

    async def check(self) -> None:
        """Prove one token.

        Raises:
            Draining: the service is shutting down.
            ProverUnavailable: the engine cannot prove at present.

        """
        self.activity.refuse_if_draining()
        await self._prover.check()

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> ProverInfo:
        """Serve other weights, and tell who proves then; raises as `WeightsLoader.load` does.

        Traces that are being scored finish on the old weights, or start again on the new ones; none mixes the two.
        """
        return await self.weights.load(folder, kind, canary)

    async def wait_dead(self) -> ProverUnavailable:
        """Return why, once the prover can never prove again; one that lives in this process never returns."""
        if isinstance(self._prover, Supervised):
            return await self._prover.wait_dead()
        return await asyncio.get_running_loop().create_future()

    async def drain(self) -> None:
        """Refuse new work and wait for what is in flight."""
        await self.activity.drain()

    async def close(self) -> None:
        """Release the prover, the graders and the cache; one that does not let go is left behind."""
        self.activity.end()
        for part in (self.queue, self._prover, *self._graders.values()):
            await _closed(part)
        await asyncio.to_thread(self.cache.close)

    def _grader(self, options: ScoreOptions) -> Grader:
        name = options.grader or next(iter(self._graders))
        if name not in self._graders:
            raise TraceError(
                f"unknown grader {name!r}: this server has {', '.join(sorted(self._graders))}", param="options.grader"
            )
        return TimedGrader(self._graders[name], lambda seconds: self.on_graded(name, seconds))

    async def _score_at(
        self, index: int, trace: Trace, job: Job | TraceError, options: ScoreOptions, grader: Grader
    ) -> tuple[int, ScoredTrace]:
        scored, outcome = await asyncio.gather(
            self._score(trace, job), self._outcome(trace, job, options, grader), return_exceptions=True
        )
        if isinstance(scored, BaseException):
            scored = ScoredTrace(trace.id, Status.ERROR, error=_error_info(scored), notes=self._notes(job))
        if isinstance(outcome, BaseException):
            outcome = JudgedOutcome(None, f"the outcome was not graded: {_error_info(outcome).message}")
        warnings = (*scored.warnings, outcome.warning) if outcome.warning else scored.warnings
        return index, replace(scored, outcome=outcome.outcome, warnings=warnings, metadata=trace.metadata)

    def _notes(self, job: Job | TraceError) -> tuple[str, ...]:
        """What holds for all traces alike: the prover's caveat, and what the prompt's template does."""
        caveat = (self.info.note,) if self.info.note else ()
        return caveat if isinstance(job, TraceError) else (*caveat, *job.encoded.notes)

    async def _score(self, trace: Trace, job: Job | TraceError) -> ScoredTrace:
        """One trace, all values from one version of the weights."""
        if isinstance(job, TraceError):
            raise job
        for _ in range(MAX_VERSION_RETRIES):
            info = self.info
            scored = await self._score_with(trace, job, info)
            if scored is not None:
                return scored
        raise ProverError(f"the weights changed {MAX_VERSION_RETRIES} times while this trace was scored; send it again")

    async def _score_with(self, trace: Trace, job: Job, info: ProverInfo) -> ScoredTrace | None:
        answering = Answering(self.queue, self.cache, info, self.tokenizer_sha256)
        try:
            values, posterior = await answering.values(job)
        except VersionChanged:
            return None
        return ScoredTrace(
            trace.id,
            Status.PARTIAL if any(value.value is None for value in values) else Status.OK,
            values=tuple(values),
            episodes=with_progress(job.episodes, values, best_of=job.plan.best_of),
            prover=f"{info.name}@{info.version}",
            usage=answering.usage,
            spellings=job.plan.spellings,
            warnings=(*job.encoded.warnings, *job.warnings),
            notes=self._notes(job),
            prefix_tokens=job.prefix_tokens,
            truncated=job.encoded.truncated,
            posterior=posterior,
        )

    async def _outcome(
        self, trace: Trace, job: Job | TraceError, options: ScoreOptions, grader: Grader
    ) -> JudgedOutcome:
        if not needs_grading(trace, grader):
            return JudgedOutcome(trace.outcome)
        # In a thread, because a long prompt takes long to read.
        problem = await asyncio.to_thread(problem_text, trace, self._bounded, options.delimiters)
        if isinstance(job, Job):
            finished = job.encoded.finished
        else:
            finished = await asyncio.to_thread(finished_of, trace, self._bounded, options.delimiters)
        return await judged(trace, problem, finished, grader)


async def _closed(part: ProofQueue | Prover | Grader) -> None:
    try:
        await asyncio.wait_for(part.close(), MAX_CLOSE_S)
    except (TimeoutError, asyncio.TimeoutError):
        logger.warning("close_timed_out", what=type(part).__name__, timeout_s=MAX_CLOSE_S)


def _error_info(error: BaseException) -> ErrorInfo:
    """A failure as the caller gets it; one that is our own bug is logged in full and reported in short."""
    if isinstance(error, MRTRewardError):
        return ErrorInfo.of(error)
    logger.error("trace_failed", exc_info=error)
    return ErrorInfo(f"internal error ({type(error).__name__})", "InternalError", "internal_error")
