"""A trace made ready for the prover: trace → episodes → prefixes → what to ask at each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.allocation import Allocation
from mrt_reward.core.episodes import episode_spans
from mrt_reward.core.prefixes import PrefixPlan, align, plan_prefixes
from mrt_reward.errors import TraceError
from mrt_reward.options import Estimator, Likelihood, Rollouts, ScoreOptions, Terminator
from mrt_reward.protocols import Grader, Probe, Proof, ProverInfo, Query, RolloutQuery, Tokenizer, trace_name
from mrt_reward.service.cache import Key
from mrt_reward.service.encoding import Encoded, encode_trace
from mrt_reward.service.estimators import Plan, RolloutPlan, Speller, plan_estimator
from mrt_reward.types import MAX_EPISODES, Episode, TokenIds, Trace


@dataclass(frozen=True, slots=True)
class Job:
    """A trace's K+1 terminated prefixes, and how to value them.

    Attributes:
        encoded: the trace as the prover sees it.
        episodes: K of them, without progress.
        token_ids: prompt and thinking.
        cuts: for each prefix, how many of the tokens it holds.
        suffixes: what follows each cut.
        plan: how answers become values.
        digests: for each prefix, a hash of everything but the prover that can change its value.
        num_tokens: what the whole job would cost the engine.
        estimator: that `plan` follows.
        trace: name of the trace that its proofs have, or its session.
        likelihood: the same prefixes valued by likelihood, where that serves as a prior.
        warnings: what the caller should know of how the trace is valued.

    """

    encoded: Encoded
    episodes: tuple[Episode, ...]
    token_ids: TokenIds
    cuts: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    plan: Plan
    digests: tuple[bytes, ...]
    num_tokens: int
    estimator: Estimator
    trace: str
    likelihood: Job | None = None
    warnings: tuple[str, ...] = ()

    @property
    def allocation(self) -> Allocation | None:
        """How answers are given in rounds; None where all are asked for at once."""
        options = self.estimator
        if not isinstance(options, Rollouts) or options.mean_samples is None:
            return None
        return Allocation(options.mean_samples, options.num_samples)

    def block(self, index: int, num_samples: int) -> Job:
        """The job of one block of answers of those that are given in rounds."""
        assert isinstance(self.plan, RolloutPlan)  # noqa: S101 - only these have an allocation
        plan = self.plan.block(index, num_samples)
        return replace(self, plan=plan, digests=_digests(plan, self.token_ids, self._probes))

    @property
    def _probes(self) -> tuple[Probe, ...]:
        return tuple(Probe(cut, suffix) for cut, suffix in zip(self.cuts, self.suffixes, strict=True))

    def proof(self, indices: Sequence[int], seeds: Sequence[int]) -> Proof:
        """Ask about the prefixes of these indices, shortest first."""
        probes = tuple(
            Probe(self.cuts[index], self.suffixes[index], seed) for index, seed in zip(indices, seeds, strict=True)
        )
        return Proof(self.token_ids[: probes[-1].cut], probes, self.plan.query, self.trace)

    @property
    def prefix_tokens(self) -> tuple[int, ...]:
        """Tokens of each terminated prefix."""
        return tuple(cut + len(suffix) for cut, suffix in zip(self.cuts, self.suffixes, strict=True))

    @property
    def longest(self) -> int:
        """Tokens of the longest terminated prefix."""
        return max(self.prefix_tokens)

    def keys(self, info: ProverInfo, tokenizer_sha256: str) -> list[Key]:
        """One cache key per prefix, over everything that can change its value."""
        who = f"{info.engine}|{info.model}|{info.version}|{info.dtype}|{tokenizer_sha256}".encode(
            errors="surrogatepass"
        )
        prover = hashlib.blake2b(who, digest_size=20)
        keys: list[Key] = []
        for digest in self.digests:
            full = prover.copy()
            full.update(digest)
            keys.append(full.digest())
        return keys

    def seeds(self) -> list[int]:
        """One seed per prefix, of its draws: the same wherever the model lies and whoever proves, in [0, 2^32).

        Coupled prefixes have one seed, of what is asked and of the prompt alone: traces of one problem share it.
        """
        if isinstance(self.plan.query, RolloutQuery) and self.plan.query.coupled:
            asked = hashlib.blake2b(f"|{self.plan.identity}".encode(errors="surrogatepass"), digest_size=20)
            asked.update(self.encoded.context.astype("<i4").tobytes())
            return [int.from_bytes(asked.digest()[:4], "little")] * len(self.digests)
        return [int.from_bytes(digest[:4], "little") for digest in self.digests]


def prepare(trace: Trace, options: ScoreOptions, tokenizer: Tokenizer, grader: Grader, speller: Speller) -> Job:
    """Encode, segment and plan one trace.

    Raises:
        TraceError: it cannot be scored as it was sent.

    """
    encoded, episodes = segment(trace, options, tokenizer)
    prefixes = plan_prefixes(encoded.completion, encoded.thinking, episodes)

    def job(options: ScoreOptions) -> Job:
        token_ids = np.concatenate([encoded.context, encoded.thinking_ids])
        cuts = tuple(len(encoded.context) + cut for cut in prefixes.cuts)
        suffixes = _suffixes(prefixes, options.resolved_terminator(), tokenizer)
        plan = plan_estimator(trace, options, tokenizer, grader, speller)
        probes = tuple(Probe(cut, suffix) for cut, suffix in zip(cuts, suffixes, strict=True))
        return Job(
            encoded,
            episodes,
            token_ids,
            cuts,
            suffixes,
            plan,
            digests=_digests(plan, token_ids, probes),
            num_tokens=Proof(token_ids, probes, _on_average(plan.query, options.estimator)).num_tokens,
            estimator=options.estimator,
            trace=trace.session or trace_name(token_ids),
            warnings=plan.warnings,
        )

    asked = job(options)
    wanted = _likelihood_options(options)
    return asked if wanted is None else _with_likelihood(asked, lambda: job(wanted))


def _on_average(query: Query, estimator: Estimator) -> Query:
    """What a prefix is asked, on average over a trace whose answers are given in rounds."""
    if not isinstance(estimator, Rollouts) or estimator.mean_samples is None or not isinstance(query, RolloutQuery):
        return query
    return replace(query, num_samples=math.ceil(estimator.mean_samples))


def _likelihood_options(options: ScoreOptions) -> ScoreOptions | None:
    """How likelihoods are asked for as a prior of sampled answers; after a free ending, those of the boxed one."""
    if not isinstance(options.estimator, Rollouts) or not options.estimator.likelihood_prior:
        return None
    boxed = options.resolved_terminator().answer == "boxed"
    return replace(options, estimator=Likelihood(), terminator=options.terminator if boxed else "boxed")


def _with_likelihood(job: Job, likelihood: Callable[[], Job]) -> Job:
    try:
        known = likelihood()
    except TraceError as error:
        return replace(job, warnings=(*job.warnings, f"likelihood_prior has no effect here: {error}"))
    return replace(job, likelihood=known, num_tokens=job.num_tokens + known.num_tokens)


def _digests(plan: Plan, token_ids: TokenIds, probes: Sequence[Probe]) -> tuple[bytes, ...]:
    """Of each prefix and how it is asked; the shared part is hashed once, and each terminator written once."""
    prefix = hashlib.blake2b(f"|{plan.identity}".encode(errors="surrogatepass"), digest_size=20)
    written: dict[int, bytes] = {}  # by identity: a trace has three different terminators at most, and hashing is slow
    digests: list[bytes] = []
    start = 0
    for probe in probes:
        prefix.update(token_ids[start : probe.cut].astype("<i4").tobytes())
        start = probe.cut
        full = prefix.copy()
        if id(probe.suffix) not in written:
            written[id(probe.suffix)] = f"|{probe.suffix!r}".encode()
        full.update(written[id(probe.suffix)])
        digests.append(full.digest())
    return tuple(digests)


def segment(trace: Trace, options: ScoreOptions, tokenizer: Tokenizer) -> tuple[Encoded, tuple[Episode, ...]]:
    """Tokenize a trace and cut its thinking into episodes.

    Raises:
        TraceError: it cannot be segmented as it was sent, or would have more than `MAX_EPISODES`.

    """
    encoded = encode_trace(trace, tokenizer, options.delimiters)
    spans = episode_spans(
        encoded.completion,
        encoded.thinking,
        options.segmenter,
        char_ends=encoded.char_ends,
        starts=trace.episode_starts,
    )
    if len(spans) > MAX_EPISODES:
        raise TraceError(
            f"the segmenter makes {len(spans)} episodes of this trace, and a trace may have {MAX_EPISODES}: set "
            "max_episodes (at most 1000), or make each episode longer (num_tokens, group)",
            code="too_many_episodes",
            param="options.segmenter",
        )
    return encoded, align(spans, encoded.char_ends, token_offset=encoded.token_offset)


def _suffixes(prefixes: PrefixPlan, terminator: Terminator, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """What follows each cut: the terminator, after a blank line where the prefix ends in mid-line."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(int(token) for token in tokenizer.encode_trusted(text))

    forced, forced_midline = encode(terminator.forced), encode("\n\n" + terminator.forced)
    suffixes = [forced_midline if midline else forced for midline in prefixes.midline]
    if prefixes.natural_end and len(prefixes.cuts) > 1:
        suffixes[-1] = encode(terminator.natural)
    return tuple(suffixes)
