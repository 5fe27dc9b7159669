"""Values of one trace: from the cache or the prover, at once or in rounds, and their posterior."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from mrt_reward.core.allocation import Allocation
from mrt_reward.core.posterior import posterior
from mrt_reward.core.progress import Floats, nan_array
from mrt_reward.core.values import pooled
from mrt_reward.options import Rollouts
from mrt_reward.protocols import ProverInfo
from mrt_reward.service.cache import ScoreCache
from mrt_reward.service.jobs import Job
from mrt_reward.service.queue import ProofQueue
from mrt_reward.types import Posterior, Usage, Value


class VersionChanged(Exception):
    """The engine answered with other weights than the ones the score is for."""


@dataclass(slots=True)
class Answering:
    """Asks about one trace, always the same version of the weights, and counts what that costs.

    Attributes:
        queue: lends the prover.
        cache: known values.
        info: the prover's name and version.
        tokenizer_sha256: of the prover's tokenizer.json.
        usage: what the trace has cost so far.

    """

    queue: ProofQueue
    cache: ScoreCache
    info: ProverInfo
    tokenizer_sha256: str
    usage: Usage = field(default_factory=Usage)

    async def values(self, job: Job) -> tuple[list[Value], Posterior | None]:
        """One value for each prefix, and what they say together.

        Raises:
            VersionChanged: the weights are others by now.
            ProverError: the prover failed to answer.

        """
        everywhere = range(len(job.cuts))
        likelihood_P: Floats | None = None
        if job.likelihood is not None:
            likelihoods = await self._asked(job.likelihood, everywhere)
            likelihood_P = nan_array(value.value for value in likelihoods)
        if job.allocation is None:
            values = await self._asked(job, everywhere)
        else:
            values = await self._in_rounds(job, job.allocation, likelihood_P)
        return values, await _posterior(job, values, likelihood_P)

    async def _in_rounds(self, job: Job, allocation: Allocation, likelihood_P: Floats | None) -> list[Value]:
        values = await self._asked(job.block(0, allocation.block), range(len(job.cuts)))
        blocks_P = [1] * len(values)
        while (found := await _posterior(job, values, likelihood_P)) is not None:
            indices = allocation.next_round(found, blocks_P)
            if not indices:
                break
            for index in sorted({blocks_P[k] for k in indices}):
                here = [k for k in indices if blocks_P[k] == index]
                more = await self._asked(job.block(index, allocation.block), here)
                for k, value in zip(here, more, strict=True):
                    values[k] = pooled(values[k], value)
            for k in indices:
                blocks_P[k] += 1
        return values

    async def _asked(self, job: Job, prefixes: Sequence[int]) -> list[Value]:
        keys, seeds = job.keys(self.info, self.tokenizer_sha256), job.seeds()
        computed_tokens = 0

        async def compute(indices: Sequence[int]) -> Sequence[Value]:
            nonlocal computed_tokens
            here = [prefixes[index] for index in indices]
            asked = [seeds[k] for k in here]
            proven = await self.queue.prove(job.proof(here, asked))
            if proven.version != self.info.version:
                raise VersionChanged
            computed_tokens += proven.computed_tokens
            return await job.plan.values(proven.answers)

        values, num_cached = await self.cache.resolve([keys[k] for k in prefixes], compute)
        self.usage = Usage(
            job.longest,
            self.usage.computed_tokens + computed_tokens,
            self.usage.probes + len(prefixes),
            self.usage.cached_probes + num_cached,
        )
        return values


async def _posterior(job: Job, values: Sequence[Value], likelihood_P: Floats | None) -> Posterior | None:
    """Of sampled answers, in a thread, because a trace may have thousands of episodes."""
    if not isinstance(job.estimator, Rollouts):
        return None
    return await asyncio.to_thread(posterior, values, job.estimator.prior, likelihood_P)
