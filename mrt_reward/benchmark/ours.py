"""Our own ways: the whole pipeline in this process and through our server, beside one full forward.

Dimension key: P prefixes · M sampled answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mrt_reward.benchmark.counting import prefill_lengths
from mrt_reward.benchmark.forwards import Forward, forward_of_engine
from mrt_reward.benchmark.plan import WARM_UP, BenchPlan, Measurement, RunWork, WorkFigures
from mrt_reward.benchmark.recording import AnswerCounts, RecordingProver
from mrt_reward.benchmark.rows import Kind, Way
from mrt_reward.benchmark.workload import Work, WorkSpec, all_prompts, apart, first_problems, make_work
from mrt_reward.client import AsyncClient
from mrt_reward.errors import ProverError
from mrt_reward.options import EstimatorName
from mrt_reward.protocols import Tokenizer
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status

CountsByWork = dict[int, AnswerCounts]
"""Counts of sampled answers, by the seed of the work that they were sampled for."""

PREFIXES_OF_SIZE = 3000
"""Prefixes that are answered at each size, at least."""

ROLLOUTS = 100
"""Number of the first work that rollouts do; likelihoods do other work, which would leave its traces in a cache."""

NO_NUMBER = "x + {}"
"""A gold answer that the grader's workers alone can judge by; one that starts imports for seconds."""


def specs(plan: BenchPlan, name: EstimatorName) -> list[WorkSpec]:
    """Work of each round. Rollouts take long, so they may do part of it."""
    if name == "likelihood":
        return [apart(plan.spec, turn) for turn in range(plan.rounds)]
    return [apart(first_problems(plan.spec, plan.slow_problems), ROLLOUTS + turn) for turn in range(plan.rounds)]


def works(plan: BenchPlan, name: EstimatorName, tokenizer: Tokenizer) -> list[Work]:
    """Work of all rounds, with its text and tokens."""
    return [make_work(spec, tokenizer, plan.estimator(name)) for spec in specs(plan, name)]


def warm_up_work(plan: BenchPlan, name: EstimatorName, tokenizer: Tokenizer) -> Work:
    """One problem that no round has. Where answers are sampled, its outcomes start all workers of the grader."""
    work = make_work(apart(first_problems(plan.spec, 1), WARM_UP), tokenizer, plan.estimator(name))
    if name == "likelihood":
        return work
    traces = (
        replace(trace, outcome=None, answer=(NO_NUMBER.format(number),)) for number, trace in enumerate(work.traces)
    )
    return replace(work, traces=tuple(traces))


def rounds_of_size(num_prefixes: int) -> int:
    """How often work of a size is done: small work many times, so that a busy moment does not decide."""
    return max(1, PREFIXES_OF_SIZE // num_prefixes)


def grown(plan: BenchPlan, tokenizer: Tokenizer) -> list[tuple[int, list[Work]]]:
    """Work of each size, once for each of its rounds."""
    found: list[tuple[int, list[Work]]] = []
    for index, size in enumerate(plan.sizes):
        spec = plan.spec.of_prefixes(size)
        turns = [apart(spec, 200 + 40 * index + turn) for turn in range(rounds_of_size(size))]
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
            why = "some values are missing" if trace.error is None else trace.error.message
            raise ProverError(f"trace {trace.id} of the benchmark was not scored: {why}")
        computed += trace.usage.computed_tokens
        num_scored += 1
    if num_scored != len(work.traces):
        raise ProverError(f"{num_scored} of {len(work.traces)} traces of the benchmark came back")
    return computed


def figures_of(name: EstimatorName, work: Work, computed: int, counts: CountsByWork) -> WorkFigures:
    """What some work reported, with the answers that were sampled when it was done in this process."""
    if name == "likelihood":
        return WorkFigures(computed)
    counted = counts.get(work.seed)
    if counted is None:
        return WorkFigures(computed, None)
    return WorkFigures(computed, counted.decoded_tokens, counted.mean_tokens)


@dataclass
class InProcess:
    """The engine in this process.

    Attributes:
        scorer: the pipeline, on `prover`.
        prover: the engine, and a record of its answers.
        plan: what to measure.
        counts: of the answers so far.

    """

    scorer: Scorer
    prover: RecordingProver
    plan: BenchPlan
    counts: CountsByWork = field(default_factory=CountsByWork)

    async def measurements(self) -> list[Measurement]:
        """What to measure, after a warm-up."""
        found: list[Measurement] = []
        forward = forward_of_engine(self.prover.inner)
        for name in self.plan.estimators:
            warm_up = warm_up_work(self.plan, name, self.prover.tokenizer)
            await self._ours(name)(warm_up)
            rounds = works(self.plan, name, self.prover.tokenizer)
            found.append(Measurement(self._way("ours", name, name), rounds, self._ours(name)))
            if forward is not None:
                # It decodes answers as long as ours, so it comes after them.
                run = self._forward(forward, name, [warm_up, *rounds])
                await run(warm_up)
                found.append(Measurement(self._way("forward", name, name), rounds, run))
        found += [
            Measurement(self._way("ours", f"likelihood of {size:,}", "likelihood"), rounds, self._ours("likelihood"))
            for size, rounds in grown(self.plan, self.prover.tokenizer)
        ]
        return [*found, self._one_by_one()]

    def _way(self, kind: Kind, name: str, estimator: str) -> Way:
        return Way(kind, name, "in process", self.prover.info.engine, estimator)

    def _ours(self, name: EstimatorName) -> RunWork:
        async def run(work: Work) -> WorkFigures:
            self.prover.taken()
            computed = await scored(self.scorer.stream(work.traces, work.options), work)
            if name == "rollouts":
                self.counts[work.seed] = self.prover.taken()
            return figures_of(name, work, computed, self.counts)

        return run

    def _forward(self, forward: Forward, name: EstimatorName, rounds: Sequence[Work]) -> RunWork:
        prompts = {work.seed: prefill_lengths(work.jobs, self.prover.info.max_tokens - 1) for work in rounds}
        read = {work.seed: round(np.mean([len(ids) for ids in all_prompts(work)])) for work in rounds}

        async def run(work: Work) -> WorkFigures:
            await forward.prefill(prompts[work.seed], work.seed)
            computed = sum(prompts[work.seed])
            if name == "rollouts":
                counted = self.counts[work.seed]
                length = max(1, round(counted.mean_tokens))
                await forward.decode(counted.num_answers, length, read[work.seed], work.seed)
                computed += counted.num_answers * (length - 1)
            return figures_of(name, work, computed, self.counts)

        return run

    def _one_by_one(self) -> Measurement:
        """A peer: every prefix a proof of its own, one after the other."""
        spec = apart(first_problems(self.plan.spec, self.plan.slow_problems), 50)
        work = make_work(spec, self.prover.tokenizer)

        async def run(work: Work) -> WorkFigures:
            computed = 0
            seen: set[bytes] = set()
            for job in work.jobs:
                for index in range(len(job.cuts)):
                    proof = job.proof([index], [0])
                    key = proof.token_ids.tobytes()
                    if key in seen:
                        continue
                    seen.add(key)
                    computed += (await self.prover.prove(proof)).computed_tokens
            return WorkFigures(computed)

        return Measurement(self._way("peer", "likelihood, one proof a prefix", "likelihood"), [work], run)


async def through_server(
    client: AsyncClient,
    tokenizer: Tokenizer,
    plan: BenchPlan,
    counts: CountsByWork,
    *,
    elsewhere: bool = False,
) -> list[Measurement]:
    """What to measure through our server, after a warm-up."""
    engine = (await client.prover()).engine
    found: list[Measurement] = []

    def run_of(name: EstimatorName) -> RunWork:
        async def run(work: Work) -> WorkFigures:
            computed = await scored(client.stream(work.traces, work.options), work)
            return figures_of(name, work, computed, counts)

        return run

    def add(label: str, name: EstimatorName, rounds: Sequence[Work]) -> None:
        way = Way("ours", label, "server", engine, name)
        found.append(Measurement(way, rounds, run_of(name), elsewhere=elsewhere))

    for name in plan.estimators:
        await run_of(name)(warm_up_work(plan, name, tokenizer))
        add(name, name, works(plan, name, tokenizer))
    for size, rounds in grown(plan, tokenizer):
        add(f"likelihood of {size:,}", "likelihood", rounds)
    return found
