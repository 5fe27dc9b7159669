"""Whether the engine says on this device what plain forwards say, and what rounding may take.

bfloat16 keeps eight bits. A plain forward in it is off the same forward in float32 as well, so that is the measure:

- no answer is further from the plain forward's than rounding may be (`canary.rounding`, 0.25 nats · √tokens);
- nor are the mean log-probabilities that the engine tells of the answers it samples (`canary.tolerance`);
- on the shortest trace, the engine's answers are at most `MAX_TIMES` as far from float32 as those of plain bfloat16
  forwards are, in the root of the mean square;
- both are far below what another cut of the same trace changes, or a wrong cut could pass.

Dimension key: P probes · S spellings · M sampled answers · T tokens · V vocabulary.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from mrt_reward.protocols import LikelihoodQuery, Probe, ProbeAnswer, Proof, RolloutQuery, SpellingIds
from mrt_reward.protocols.canary import rounding, tolerance
from mrt_reward.provers.hf.prover import TransformersProver
from tests.gpu.report import Figure

MAX_TIMES = 2.0
"""How much further from float32 than plain bfloat16: two errors of one size differ by chance on a few dozen answers."""

MIN_SIGNAL = 4.0
"""What another cut changes, over what rounding does, in the root of the mean square."""

DTYPE = "bfloat16"

SAMPLES = RolloutQuery(2, temperature=1.0, top_p=1.0, max_tokens=16, stop_at_close=False, logprobs=True, coupled=True)

Logprobs = NDArray[np.float64]


@dataclass(frozen=True)
class Plain:
    """A model asked by one forward for each terminated prefix and answer, with transformers' own attention."""

    network: Any

    def likelihoods(self, proof: Proof) -> Logprobs:
        """Log p(spelling, close), shape (P, S)."""
        spellings = cast("LikelihoodQuery", proof.query).spellings
        return np.array(
            [[self._spelt(_before(proof, probe), each) for each in spellings] for probe in proof.probes], np.float64
        )

    def mean_logprobs(self, proof: Proof, answers: Sequence[ProbeAnswer]) -> Logprobs:
        """Of the tokens of sampled answers, shape (P, M)."""
        return np.array(
            [
                [
                    self._after(_before(proof, probe), ids)[:-1][range(len(ids)), list(ids)].mean()
                    for ids in each.completions
                ]
                for probe, each in zip(proof.probes, answers, strict=True)
            ],
            np.float64,
        )

    def _spelt(self, before: Sequence[int], spelling: SpellingIds) -> float:
        logprob_TV = self._after(before, spelling.ids)
        own = logprob_TV[range(len(spelling.ids)), list(spelling.ids)].sum()
        return float(own + np.logaddexp.reduce(logprob_TV[-1, list(spelling.close)]))

    def _after(self, before: Sequence[int], ids: Sequence[int]) -> Logprobs:
        """Log-probabilities before each of the ids and after the last, shape (1 + len(ids), V)."""
        tokens = torch.tensor([[*before, *ids]], device=self.network.device)
        with self._own_attention(), torch.inference_mode():
            logits = self.network(input_ids=tokens, use_cache=False, logits_to_keep=len(ids) + 1).logits[0]
        return logits.double().log_softmax(dim=-1).cpu().numpy()

    @contextmanager
    def _own_attention(self) -> Generator[None]:
        ours = self.network.config._attn_implementation
        self.network.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            self.network.set_attn_implementation(ours)


def _before(proof: Proof, probe: Probe) -> list[int]:
    return [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]


async def compared(model: str, prover: TransformersProver, proofs: Sequence[Proof]) -> AsyncIterator[Figure]:
    """Figures of some traces, the shortest first."""
    plain = Plain(prover.network)
    ours = [_numbers((await prover.prove(proof)).answers) for proof in proofs]
    theirs = [plain.likelihoods(proof) for proof in proofs]
    for figure in against_plain(model, proofs, ours, theirs):
        yield figure
    async for figure in _sampled(model, prover, proofs):
        yield figure
    exact = Plain(copy.deepcopy(prover.network).float()).likelihoods(proofs[0])
    yield against_float32(model, ours[0], theirs[0], exact)


def _numbers(answers: Sequence[ProbeAnswer]) -> Logprobs:
    return np.array([answer.spelling_logprobs for answer in answers])


def against_plain(
    model: str, proofs: Sequence[Proof], ours: Sequence[Logprobs], theirs: Sequence[Logprobs]
) -> list[Figure]:
    """Against plain forwards in the same precision."""
    apart = np.concatenate([np.abs(one - other).ravel() for one, other in zip(ours, theirs, strict=True)])
    signal = np.concatenate([np.diff(one, axis=0).ravel() for one in theirs])
    limit = min(rounding(proof, DTYPE) for proof in proofs)
    lengths = ", ".join(f"{len(proof.token_ids):,}" for proof in proofs)
    ratio = root_mean_square(signal) / max(root_mean_square(apart), 1e-12)
    return [
        Figure(
            model, "furthest from a plain forward per prefix", float(apart.max()), "nats",
            f"at most {limit:.2g}; {apart.size} answers, traces of {lengths} tokens", bool(apart.max() <= limit),
        ),
        Figure(
            model, "what the next cut changes, over rounding", ratio, "",
            f"at least {MIN_SIGNAL:g}; root mean squares, {root_mean_square(signal):.2g} nats",
            bool(ratio >= MIN_SIGNAL),
        ),
    ]  # fmt: skip


def against_float32(model: str, ours: Logprobs, theirs: Logprobs, exact: Logprobs) -> Figure:
    """Against plain forwards of the same weights in float32."""
    own, plain = root_mean_square(ours - exact), root_mean_square(theirs - exact)
    return Figure(
        model, "off float32, over what a plain bfloat16 forward is", own / max(plain, 1e-12), "",
        f"at most {MAX_TIMES:g}; root mean square {own:.2g} and {plain:.2g} nats, {ours.size} answers",
        bool(own <= MAX_TIMES * plain),
    )  # fmt: skip


def root_mean_square(errors: Logprobs) -> float:
    return float(np.sqrt(np.mean(errors**2)))


async def _sampled(model: str, prover: TransformersProver, proofs: Sequence[Proof]) -> AsyncIterator[Figure]:
    """Answers that are sampled, side by side and each trace alone."""
    asked = [Proof(proof.token_ids, proof.probes[::2], SAMPLES) for proof in proofs]
    together = [proven.answers for proven in await asyncio.gather(*map(prover.prove, asked))]
    plain = Plain(prover.network)
    reported = [np.array([each.completion_logprobs for each in answers]) for answers in together]
    apart = max(
        float(np.abs(mean - plain.mean_logprobs(proof, answers)).max())
        for mean, proof, answers in zip(reported, asked, together, strict=True)
    )
    limit = tolerance(DTYPE)
    yield Figure(
        model, "sampled answers: mean log-probability, off a plain forward", apart, "nats",
        f"at most {limit:.2g}; {SAMPLES.max_tokens} tokens", bool(apart <= limit),
    )  # fmt: skip
    alone = [(await prover.prove(proof)).answers for proof in asked]
    same = [
        one == other
        for answers, others in zip(together, alone, strict=True)
        for answer, again in zip(answers, others, strict=True)
        for one, other in zip(answer.completions, again.completions, strict=True)
    ]
    yield Figure(model, "sampled answers: the same alone and side by side", float(np.mean(same)), "", "share of them")
