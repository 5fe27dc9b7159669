"""Our own ways: the whole pipeline in this process and through our server, beside the bound.

Dimension key: P prefixes · M sampled answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from mrt_reward.benchmark.bounds import Bound, bound_of_engine
from mrt_reward.benchmark.counting import prefill_lengths
from mrt_reward.benchmark.plan import WARM_UP, EstimatorName, Measurement, Plan, Run, Told
from mrt_reward.benchmark.rows import Kind, Way
from mrt_reward.benchmark.workload import Work, WorkSpec, apart, first_problems, make_work
from mrt_reward.client import AsyncClient
from mrt_reward.errors import ProverError
from mrt_reward.protocols import Prover, Tokenizer
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status

AnswerTokens = float | None
"""Mean length of a sampled answer; None for likelihoods, and where it is not known."""


def specs(plan: Plan, name: EstimatorName) -> list[WorkSpec]:
    """Work of each round. Rollouts take long, so they may do part of it."""
    spec = first_problems(plan.spec, plan.slow_problems) if name == "rollouts" else plan.spec
    return [apart(spec, turn) for turn in range(plan.rounds)]


def works(plan: Plan, name: EstimatorName, tokenizer: Tokenizer) -> list[Work]:
    """The same, made."""
    return [make_work(spec, tokenizer, plan.estimator(name)) for spec in specs(plan, name)]


def warm_up_work(plan: Plan, name: EstimatorName, tokenizer: Tokenizer) -> Work:
    """One problem that no round has."""
    return make_work(apart(first_problems(plan.spec, 1), WARM_UP), tokenizer, plan.estimator(name))


def rounds_of_size(num_prefixes: int) -> int:
    """How often work of a size is done: small work several times, as a process's clock is coarse."""
    return max(1, 1000 // num_prefixes)


def grown(plan: Plan, tokenizer: Tokenizer) -> list[tuple[int, list[Work]]]:
    """Work of each size, once for each of its rounds."""
    found: list[tuple[int, list[Work]]] = []
    for place, size in enumerate(plan.sizes):
        spec = plan.spec.of_prefixes(size)
        turns = [apart(spec, 200 + 20 * place + turn) for turn in range(rounds_of_size(size))]
        found.append((size, [make_work(spec, tokenizer) for spec in turns]))
    return found


async def scored(stream: AsyncIterator[tuple[int, ScoredTrace]], work: Work) -> int:
    """Tokens that were computed for all traces.

    Raises:
        ProverError: one was not scored, so that the figures would be of other work.

    """
    computed = num_scored = 0
    async for _, trace in stream:
        if trace.status is not Status.OK:
            told = "some values are missing" if trace.error is None else trace.error.message
            raise ProverError(f"trace {trace.id} of the benchmark was not scored: {told}")
        computed += trace.usage.computed_tokens
        num_scored += 1
    if num_scored != len(work.traces):
        raise ProverError(f"{num_scored} of {len(work.traces)} traces of the benchmark came back")
    return computed


def decoded(plan: Plan, name: EstimatorName, work: Work, answer_tokens: AnswerTokens) -> int | None:
    """Tokens of sampled answers to run; the last of each is never run."""
    if name == "likelihood":
        return 0
    if answer_tokens is None:
        return None
    return round(work.num_prefixes * plan.num_samples * max(0.0, answer_tokens - 1))


@dataclass
class InProcess:
    """The engine in this process.

    Attributes:
        scorer: the pipeline, on `prover`.
        prover: the engine.
        plan: what to measure.

    """

    scorer: Scorer
    prover: Prover
    plan: Plan

    async def measurements(self) -> tuple[list[Measurement], AnswerTokens]:
        """What to measure, after a warm-up, and the mean length of sampled answers that it saw."""
        found: list[Measurement] = []
        bound = bound_of_engine(self.prover)
        answer_tokens: AnswerTokens = None
        for name in self.plan.estimators:
            answer_tokens = await self._warm_up(name, bound)
            rounds = works(self.plan, name, self.prover.tokenizer)
            if bound is not None:
                found.append(
                    Measurement(self._way("bound", name, name), rounds, self._bound(bound, name, answer_tokens))
                )
            found.append(Measurement(self._way("ours", name, name), rounds, self._ours(name, answer_tokens)))
        found += [
            Measurement(
                self._way("ours", f"likelihood of {size:,}", "likelihood"), rounds, self._ours("likelihood", None)
            )
            for size, rounds in grown(self.plan, self.prover.tokenizer)
        ]
        return [*found, self._one_by_one()], answer_tokens

    def _way(self, kind: Kind, name: str, estimator: str) -> Way:
        return Way(kind, name, "in process", self.prover.info.engine, estimator)

    def _ours(self, name: EstimatorName, answer_tokens: AnswerTokens) -> Run:
        async def run(work: Work) -> Told:
            computed = await scored(self.scorer.stream(work.traces, work.options), work)
            return Told(computed, decoded(self.plan, name, work, answer_tokens), answer_tokens)

        return run

    def _bound(self, bound: Bound, name: EstimatorName, answer_tokens: AnswerTokens) -> Run:
        async def run(work: Work) -> Told:
            lengths = prefill_lengths(work.jobs, self.prover.info.max_tokens - 1)
            await bound.prefill(lengths, work.seed)
            num_decoded = decoded(self.plan, name, work, answer_tokens)
            if answer_tokens is not None:
                await bound.decode(work.num_prefixes * self.plan.num_samples, max(1, round(answer_tokens)), work.seed)
            return Told(sum(lengths) + (num_decoded or 0), num_decoded, answer_tokens)

        return run

    async def _warm_up(self, name: EstimatorName, bound: Bound | None) -> AnswerTokens:
        """Load what is loaded late; returns the mean length of sampled answers."""
        work = warm_up_work(self.plan, name, self.prover.tokenizer)
        proven = await self.prover.prove([job.proof(range(len(job.cuts)), range(len(job.cuts))) for job in work.jobs])
        lengths: list[int] = []
        for one in proven:
            if isinstance(one, ProverError):
                raise one
            lengths += [len(ids) for answer in one.answers for ids in answer.completions]
        await scored(self.scorer.stream(work.traces[:1], work.options), work.first(1))
        answer_tokens = sum(lengths) / len(lengths) if lengths else None
        if bound is not None:
            await self._bound(bound, name, answer_tokens)(work)
        return answer_tokens

    def _one_by_one(self) -> Measurement:
        """A peer: every prefix a proof of its own, one after the other."""
        spec = apart(first_problems(self.plan.spec, self.plan.slow_problems), 50)
        work = make_work(spec, self.prover.tokenizer)

        async def run(work: Work) -> Told:
            computed = 0
            seen: set[bytes] = set()
            for job in work.jobs:
                for place in range(len(job.cuts)):
                    proof = job.proof([place], [0])
                    key = proof.token_ids.tobytes()
                    if key in seen:
                        continue
                    seen.add(key)
                    [proven] = await self.prover.prove([proof])
                    if isinstance(proven, ProverError):
                        raise proven
                    computed += proven.computed_tokens
            return Told(computed)

        return Measurement(self._way("peer", "likelihood, one proof a prefix", "likelihood"), [work], run)


async def through_server(
    client: AsyncClient,
    tokenizer: Tokenizer,
    plan: Plan,
    answer_tokens: AnswerTokens,
    *,
    elsewhere: bool = False,
) -> list[Measurement]:
    """What to measure through our server, after a warm-up."""
    engine = (await client.prover()).engine
    found: list[Measurement] = []

    def run_of(name: EstimatorName) -> Run:
        known = answer_tokens if name == "rollouts" else None

        async def run(work: Work) -> Told:
            computed = await scored(client.stream(work.traces, work.options), work)
            return Told(computed, decoded(plan, name, work, known), known)

        return run

    def add(label: str, name: EstimatorName, rounds: Sequence[Work]) -> None:
        found.append(Measurement(Way("ours", label, "server", engine, name), rounds, run_of(name), elsewhere))

    for name in plan.estimators:
        await run_of(name)(warm_up_work(plan, name, tokenizer))
        add(name, name, works(plan, name, tokenizer))
    for size, rounds in grown(plan, tokenizer):
        add(f"likelihood of {size:,}", "likelihood", rounds)
    return found
