"""The pipeline: trace → episodes → prefixes → (prover, grader) → values → progress."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.episodes import episode_spans
from mrt_reward.core.prefixes import PrefixPlan, align, plan_prefixes
from mrt_reward.core.progress import with_progress
from mrt_reward.errors import ConfigError, Draining, MRTRewardError, ProverError, TraceError
from mrt_reward.options import Rollouts, ScoreOptions, Terminator
from mrt_reward.protocols import GradeItem, Grader, Probe, Proof, Prover, ProverInfo
from mrt_reward.service.batcher import Batcher
from mrt_reward.service.cache import Key, ScoreCache
from mrt_reward.service.encoding import Encoded, encode_trace, problem_text
from mrt_reward.service.estimators import Plan, Speller, outcome_of, plan_likelihood, plan_rollouts
from mrt_reward.types import Episode, ErrorInfo, ScoredTrace, Status, TokenIds, Trace, Usage, Value

MAX_VERSION_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Segmented:
    """Where a trace's thinking is cut, without values."""

    id: str
    episodes: tuple[Episode, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """A trace made ready for the prover: its K+1 terminated prefixes."""

    encoded: Encoded
    episodes: tuple[Episode, ...]
    token_ids: TokenIds
    cuts: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    plan: Plan

    def proof(self, places: Sequence[int], seeds: Sequence[int]) -> Proof:
        """Ask about the prefixes at these places."""
        probes = tuple(
            Probe(self.cuts[place], self.suffixes[place], seed) for place, seed in zip(places, seeds, strict=True)
        )
        return Proof(self.token_ids[: probes[-1].cut], probes, self.plan.query)


class Scorer:
    """Scores traces; one per server, shared by all requests.

    Args:
        prover: the engine; owned, and closed with the scorer.
        graders: by the names that `ScoreOptions.grader` may give, the default first; owned.
        speller: gives the accepted spellings of a gold answer.
        cache: of values.
        max_queue_tokens: see `Batcher`.

    """

    def __init__(
        self,
        prover: Prover,
        graders: Mapping[str, Grader],
        speller: Speller,
        *,
        cache: ScoreCache | None = None,
        max_queue_tokens: int = 4_000_000,
    ) -> None:
        if not graders:
            raise ConfigError("expected at least one grader, got none", param="graders")
        self._prover = prover
        self._graders = dict(graders)
        self._speller = speller
        self.cache = cache or ScoreCache()
        self.batcher = Batcher(prover, max_queue_tokens)
        self._num_active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def info(self) -> ProverInfo:
        """Who proves at present."""
        return self._prover.info

    @property
    def tokenizer_sha256(self) -> str:
        """Of the prover's tokenizer.json."""
        return self._prover.tokenizer.sha256

    @property
    def graders(self) -> Mapping[str, Grader]:
        """By the names that `ScoreOptions.grader` may give, the default first."""
        return self._graders

    async def stream(self, traces: Sequence[Trace], options: ScoreOptions) -> AsyncIterator[tuple[int, ScoredTrace]]:
        """Each trace, with its place in `traces`, as soon as it is scored. Closing the iterator stops the rest.

        Raises:
            Overloaded: the queue is full; nothing was started.
            Draining: the service is shutting down.
            TraceError: the options name a grader that is not there.

        """
        grader = self._grader(options)
        async with self._active():
            # An overloaded server should not spend its time tokenizing what it will refuse.
            with self.batcher.admitted(1):
                jobs = await asyncio.to_thread(self._prepare_all, traces, options, grader)
            num_tokens = sum(self._cost(job) for job in jobs if isinstance(job, _Job))
            with self.batcher.admitted(num_tokens):
                tasks = [
                    asyncio.create_task(self._score_at(place, trace, job, grader))
                    for place, (trace, job) in enumerate(zip(traces, jobs, strict=True))
                ]
                try:
                    for finished in asyncio.as_completed(tasks):
                        yield await finished
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def score(self, traces: Sequence[Trace], options: ScoreOptions | None = None) -> tuple[ScoredTrace, ...]:
        """All traces, in their order; raises as `stream` does."""
        scored = {place: trace async for place, trace in self.stream(traces, options or ScoreOptions())}
        return tuple(scored[place] for place in range(len(traces)))

    def segment(self, trace: Trace, options: ScoreOptions) -> Segmented:
        """Episodes only.

        Raises:
            TraceError: the trace cannot be segmented as it was sent.

        """
        encoded = encode_trace(trace, self._prover.tokenizer, options.delimiters)
        return Segmented(trace.id, _cut(trace, encoded, options), encoded.warnings)

    async def check(self) -> None:
        """Prove one token.

        Raises:
            Draining: the service is shutting down.
            ProverUnavailable: the engine cannot prove at present.

        """
        if self.draining:
            raise Draining("the server is shutting down: use another replica", retry_after_s=5.0)
        await self._prover.check()

    async def drain(self) -> None:
        """Refuse new work and wait for what is in flight."""
        self.draining = True
        await self._idle.wait()

    async def close(self) -> None:
        """Release the prover, the graders and the cache."""
        self.draining = True
        await self.batcher.close()
        await self._prover.close()
        for grader in self._graders.values():
            await grader.close()
        self.cache.close()

    @asynccontextmanager
    async def _active(self) -> AsyncIterator[None]:
        if self.draining:
            raise Draining("the server is shutting down: use another replica", retry_after_s=5.0)
        self._num_active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_active -= 1
            if self._num_active == 0:
                self._idle.set()

    def _grader(self, options: ScoreOptions) -> Grader:
        name = options.grader or next(iter(self._graders))
        if name not in self._graders:
            raise TraceError(
                f"unknown grader {name!r}: this server has {', '.join(sorted(self._graders))}", param="options.grader"
            )
        return self._graders[name]

    def _prepare_all(self, traces: Sequence[Trace], options: ScoreOptions, grader: Grader) -> list[_Job | TraceError]:
        def prepared(trace: Trace) -> _Job | TraceError:
            try:
                return self._prepare(trace, options, grader)
            except TraceError as error:
                return error

        return [prepared(trace) for trace in traces]

    def _prepare(self, trace: Trace, options: ScoreOptions, grader: Grader) -> _Job:
        encoded = encode_trace(trace, self._prover.tokenizer, options.delimiters)
        episodes = _cut(trace, encoded, options)
        prefixes = plan_prefixes(encoded.completion, encoded.thinking, episodes)
        terminator = options.resolved_terminator()
        token_ids = np.concatenate([encoded.context, encoded.thinking_ids])
        cuts = tuple(len(encoded.context) + cut for cut in prefixes.cuts)
        return _Job(
            encoded,
            episodes,
            token_ids,
            cuts,
            self._suffixes(prefixes, terminator),
            self._plan(trace, options, terminator, grader),
        )

    def _suffixes(self, prefixes: PrefixPlan, terminator: Terminator) -> tuple[tuple[int, ...], ...]:
        """What follows each cut: the terminator, after a blank line where the prefix ends in mid-line."""

        def encode(text: str) -> tuple[int, ...]:
            return tuple(int(token) for token in self._prover.tokenizer.encode_trusted(text))

        forced, forced_midline = encode(terminator.forced), encode("\n\n" + terminator.forced)
        suffixes = [forced_midline if midline else forced for midline in prefixes.midline]
        if prefixes.natural_end and len(prefixes.cuts) > 1:
            suffixes[-1] = encode(terminator.natural)
        return tuple(suffixes)

    def _plan(self, trace: Trace, options: ScoreOptions, terminator: Terminator, grader: Grader) -> Plan:
        tokenizer = self._prover.tokenizer
        if isinstance(options.estimator, Rollouts):
            boxed = terminator.answer == "boxed"
            item = GradeItem("", trace.answer, problem_text(trace), boxed_prefix=boxed)
            return plan_rollouts(options.estimator, terminator, tokenizer, grader, item)
        return plan_likelihood(options.estimator, terminator, tokenizer, trace.answer, self._speller)

    def _cost(self, job: _Job) -> int:
        places = range(len(job.cuts))
        return job.proof(places, [0] * len(places)).num_tokens

    async def _score_at(
        self, place: int, trace: Trace, job: _Job | TraceError, grader: Grader
    ) -> tuple[int, ScoredTrace]:
        outcome, (scored, error) = await asyncio.gather(self._outcome(trace, job, grader), self._try(trace, job))
        if error is not None:
            info = ErrorInfo(str(error), type(error).__name__, error.code, error.param)
            scored = ScoredTrace(trace.id, Status.ERROR, error=info)
        return place, replace(scored, outcome=outcome, metadata=trace.metadata)

    async def _try(self, trace: Trace, job: _Job | TraceError) -> tuple[ScoredTrace, MRTRewardError | None]:
        nothing = ScoredTrace(trace.id, Status.ERROR)
        if isinstance(job, TraceError):
            return nothing, job
        try:
            return await self._score(trace, job), None
        except (ProverError, TraceError) as error:
            return nothing, error

    async def _score(self, trace: Trace, job: _Job) -> ScoredTrace:
        """One trace, all values from one version of the weights."""
        for _ in range(MAX_VERSION_RETRIES):
            info = self.info
            scored = await self._score_with(trace, job, info)
            if scored is not None:
                return scored
        raise ProverError(f"the weights changed {MAX_VERSION_RETRIES} times while this trace was scored; send it again")

    async def _score_with(self, trace: Trace, job: _Job, info: ProverInfo) -> ScoredTrace | None:
        keys = _keys(job, info, self.tokenizer_sha256)
        seeds = [int.from_bytes(key[:4], "little") for key in keys]
        computed_tokens = 0

        async def compute(places: Sequence[int]) -> Sequence[Value]:
            nonlocal computed_tokens
            asked = [seeds[place] for place in places]
            proven = await self.batcher.prove(job.proof(places, asked))
            if proven.version != info.version:
                raise _VersionChanged
            computed_tokens += proven.computed_tokens
            return await job.plan.values(proven.answers, asked)

        try:
            values, num_cached = await self.cache.resolve(keys, compute)
        except _VersionChanged:
            return None
        missing = any(value.value is None for value in values)
        longest = max(cut + len(suffix) for cut, suffix in zip(job.cuts, job.suffixes, strict=True))
        return ScoredTrace(
            trace.id,
            Status.PARTIAL if missing else Status.OK,
            values=tuple(values),
            episodes=with_progress(job.episodes, values),
            prover=f"{info.model}@{info.version}",
            usage=Usage(longest, computed_tokens, len(keys), num_cached),
            spellings=job.plan.spellings,
            warnings=job.encoded.warnings,
        )

    async def _outcome(self, trace: Trace, job: _Job | TraceError, grader: Grader) -> float | None:
        """The finished trace's reward: the caller's, or graded; None where it cannot be known."""
        if trace.outcome is not None:
            return trace.outcome
        if grader.needs_answer and not trace.answer:
            return None
        completion = trace.completion or ""
        if isinstance(job, _Job):
            if job.encoded.truncated:
                return 0.0  # Cut off while thinking: there is no answer, which is a miss.
            completion = job.encoded.answer_text
        [grade] = await grader.grade([GradeItem(completion, trace.answer, problem_text(trace))])
        return outcome_of(grade)


class _VersionChanged(Exception):
    """The engine answered with other weights than the ones the score is for."""


def _cut(trace: Trace, encoded: Encoded, options: ScoreOptions) -> tuple[Episode, ...]:
    spans = episode_spans(
        encoded.completion, encoded.thinking, options.segmenter, char_ends=encoded.char_ends, starts=trace.episodes
    )
    return align(spans, encoded.char_ends, token_offset=encoded.token_offset)


def _keys(job: _Job, info: ProverInfo, tokenizer_sha256: str) -> list[Key]:
    """One key per prefix, over everything that can change its value; the shared part is hashed once."""
    who = f"{info.engine}|{info.model}|{info.version}|{tokenizer_sha256}|{job.plan.identity}"
    prefix = hashlib.blake2b(who.encode(), digest_size=20)
    keys: list[Key] = []
    start = 0
    for cut, suffix in zip(job.cuts, job.suffixes, strict=True):
        prefix.update(job.token_ids[start:cut].astype("<i4").tobytes())
        start = cut
        full = prefix.copy()
        full.update(f"|{suffix!r}".encode())
        keys.append(full.digest())
    return keys
