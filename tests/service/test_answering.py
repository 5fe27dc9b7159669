from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from mrt_reward.core.posterior import posterior
from mrt_reward.options import PathPrior, Rollouts, ScoreOptions
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, Proof, Proven, RolloutQuery
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.types import ScoredTrace, Status, Verdict
from tests.service.conftest import THINKING, MakeScorer, make_trace

PLAIN = Rollouts("rollouts", num_samples=4)
ROUNDS = Rollouts("rollouts", num_samples=16, mean_samples=4, coupled=True, prior=PathPrior(change=0.6, coupling=0.98))


class Drawn(ScriptedProver):
    """Answers that are drawn by the probe's seed: right with a probability of its prefix, or as `right` says."""

    def __init__(self, rates: list[float], right: Callable[[int, int], bool] | None = None) -> None:
        super().__init__(rates)
        self._rates = rates
        self._right = right
        self._cuts: list[int] = []

    async def prove(self, proof: Proof) -> Proven:
        if isinstance(proof.query, LikelihoodQuery):
            return await super().prove(proof)
        self.proofs.append(proof)
        query = proof.query
        self._cuts = sorted({*self._cuts, *(probe.cut for probe in proof.probes)})
        answers: list[ProbeAnswer] = []
        for probe in proof.probes:
            index = self._cuts.index(probe.cut)
            uniform_M = np.random.default_rng(probe.seed).random(query.num_samples)
            right_M = [
                self._right(len(self.proofs), index) if self._right else bool(uniform < self._rates[index])
                for uniform in uniform_M
            ]
            answers.append(ProbeAnswer(completions=tuple(tuple(b"{42}" if right else b"{0}") for right in right_M)))
        return Proven(tuple(answers), self.version, proof.num_tokens)

    @property
    def asked(self) -> list[tuple[int, ...]]:
        """Places of the prefixes that each proof asked about."""
        return [tuple(self._cuts.index(probe.cut) for probe in proof.probes) for proof in self.proofs]


async def score(make_scorer: MakeScorer, prover: ScriptedProver, estimator: Rollouts, **more: object) -> ScoredTrace:
    scorer = make_scorer(prover)
    options = ScoreOptions(estimator=estimator, **more)  # type: ignore[arg-type]
    [scored] = await scorer.score([make_trace("t")], options)
    await scorer.close()
    assert scored.error is None, scored.error
    return scored


async def test_sampled_values_travel_with_their_posterior(make_scorer: MakeScorer) -> None:
    scored = await score(make_scorer, ScriptedProver([0.25, 0.5, 0.5, 1.0]), PLAIN)
    assert [value.value for value in scored.values] == [0.25, 0.5, 0.5, 1.0]
    assert scored.posterior == posterior(scored.values, PathPrior())
    assert not any(value.adaptive for value in scored.values)
    other = await score(
        make_scorer,
        ScriptedProver([0.25, 0.5, 0.5, 1.0]),
        Rollouts("rollouts", num_samples=4, prior=PathPrior(change=0.05)),
    )
    assert other.values == scored.values
    assert other.posterior != scored.posterior


async def test_there_is_no_posterior_of_likelihoods_and_none_of_a_trace_with_a_missing_value(
    make_scorer: MakeScorer,
) -> None:
    scorer = make_scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0]))
    [exact] = await scorer.score([make_trace("t")], ScoreOptions())
    assert exact.posterior is None
    prover = ScriptedProver([0.0, 1.0, 1.0, 1.0], wrong="ungraded")
    partial = await score(make_scorer, prover, PLAIN)
    assert (partial.status, partial.posterior) == (Status.PARTIAL, None)


async def test_a_value_and_its_posterior_are_the_same_alone_and_in_any_batch(make_scorer: MakeScorer) -> None:
    traces = [make_trace(str(n), completion=THINKING[: 18 + 20 * n] + "</think> 42") for n in range(3)]
    for estimator in (PLAIN, ROUNDS):
        alone: list[ScoredTrace] = []
        for trace in traces:
            scorer = make_scorer(Seeded())
            alone += await scorer.score([trace], ScoreOptions(estimator=estimator))
        together = await make_scorer(Seeded()).score(traces[::-1], ScoreOptions(estimator=estimator))
        for one, other in zip(alone, reversed(together), strict=True):
            assert one.values == other.values
            assert one.posterior == other.posterior


async def test_the_first_value_of_a_group_is_answered_once_whatever_its_traces_ask(make_scorer: MakeScorer) -> None:
    prover = Seeded()
    traces = [make_trace(str(n), completion=THINKING[: 18 + 20 * n] + "</think> 42", group="g") for n in range(4)]
    scored = await make_scorer(prover).score(traces, ScoreOptions(estimator=ROUNDS))
    start = min(probe.cut for proof in prover.proofs for probe in proof.probes)
    seeds = [probe.seed for proof in prover.proofs for probe in proof.probes if probe.cut == start]
    assert len(seeds) == len(set(seeds)) == max(len(trace.values[0].verdicts or ()) for trace in scored) // 2
    # A trace that asked for fewer has the first of them.
    firsts = sorted((trace.values[0].verdicts or () for trace in scored), key=len)
    assert all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(firsts))


class Seeded(Drawn):
    """Right by the probe's seed and the length of its prefix alone."""

    def __init__(self) -> None:
        super().__init__([])

    async def prove(self, proof: Proof) -> Proven:
        assert isinstance(proof.query, RolloutQuery)
        self.proofs.append(proof)
        answers = [
            ProbeAnswer(
                completions=tuple(
                    tuple(b"{42}" if uniform < (probe.cut % 7) / 7 else b"{0}")
                    for uniform in np.random.default_rng(probe.seed).random(proof.query.num_samples)
                )
            )
            for probe in proof.probes
        ]
        return Proven(tuple(answers), self.version, proof.num_tokens)


async def test_rounds_give_more_answers_where_progress_is_uncertain_and_label_them(make_scorer: MakeScorer) -> None:
    # All of the first round are right but those of the last prefix, half of which are.
    prover = Drawn([], lambda proofs, index: index < 3 or proofs % 2 == 0)
    scored = await score(make_scorer, prover, ROUNDS)
    first, *later = prover.asked
    assert first == (0, 1, 2, 3)
    assert {index for indices in later for index in indices} >= {2, 3}
    counts = [len(value.verdicts or ()) for value in scored.values]
    assert counts[3] == max(counts) > 2
    assert sum(counts) <= 4 * 4
    assert all(value.adaptive for value in scored.values if len(value.verdicts or ()) > 2)
    assert scored.posterior == posterior(scored.values, ROUNDS.prior)
    assert scored.usage.probes == sum(map(len, prover.asked))


async def test_answers_in_rounds_go_on_where_the_earlier_ones_stopped(make_scorer: MakeScorer) -> None:
    prover = Drawn([0.3, 0.3, 0.6, 0.9])
    scored = await score(make_scorer, prover, ROUNDS)
    seeds = {}
    for proof, indices in zip(prover.proofs, prover.asked, strict=True):
        for probe, index in zip(proof.probes, indices, strict=True):
            seeds.setdefault(index, []).append(probe.seed)
    # Coupled: the n-th block has the same noise at every prefix, and no two blocks have the same.
    longest = max(seeds.values(), key=len)
    assert len(set(longest)) == len(longest) > 1
    assert all(each == longest[: len(each)] for each in seeds.values())
    for index, value in enumerate(scored.values):
        drawn = [u < prover._rates[index] for seed in seeds[index] for u in np.random.default_rng(seed).random(2)]
        assert [verdict is Verdict.CORRECT for verdict in value.verdicts or ()] == drawn


async def test_rounds_are_decided_by_answers_of_earlier_rounds_only(make_scorer: MakeScorer) -> None:
    def answers(second: bool) -> Callable[[int, int], bool]:
        return lambda proofs, index: index < 3 if proofs == 1 else second

    one, other = Drawn([], answers(False)), Drawn([], answers(True))
    for prover in (one, other):
        await score(make_scorer, prover, ROUNDS)
    # The first rounds have the same answers, so the second ones ask about the same prefixes, whatever they answer.
    assert len(one.asked) > 1
    assert one.asked[:2] == other.asked[:2]
    assert one.asked[1] != (0, 1, 2, 3)
    # What they answer decides what is asked next.
    assert one.asked[2:] != other.asked[2:]


async def test_a_settled_trace_gets_no_second_round(make_scorer: MakeScorer) -> None:
    settled = Rollouts("rollouts", num_samples=64, mean_samples=64, prior=PathPrior(change=0.01))
    prover = Drawn([], lambda _, __: True)
    scored = await score(make_scorer, prover, settled)
    assert prover.asked == [(0, 1, 2, 3)]
    assert [value.correct for value in scored.values] == [32] * 4
    assert not any(value.adaptive for value in scored.values)


async def test_rounds_need_rates_of_right_answers(make_scorer: MakeScorer) -> None:
    for wrong, message in (
        (Rollouts("rollouts", num_samples=8, mean_samples=4, best_of=2), "best_of 1"),
        (Rollouts("rollouts", num_samples=2, mean_samples=4), "at most num_samples = 2"),
    ):
        [scored] = await make_scorer(ScriptedProver([0.5] * 4)).score([make_trace("t")], ScoreOptions(estimator=wrong))
        assert scored.error is not None
        assert message in scored.error.message


@pytest.mark.parametrize("terminator", ["boxed", "official"])
async def test_a_likelihood_sharpens_the_posterior_also_of_free_answers(
    make_scorer: MakeScorer, terminator: str
) -> None:
    values = [0.25, 0.5, 0.5, 1.0]
    with_it = Rollouts("rollouts", num_samples=4, likelihood_prior=True)
    prover = ScriptedProver(values)
    sharp = await score(make_scorer, prover, with_it, terminator=terminator)
    plain = await score(make_scorer, ScriptedProver(values), PLAIN, terminator=terminator)
    assert [value.value for value in sharp.values] == [value.value for value in plain.values]
    assert sharp.posterior == posterior(plain.values, PathPrior(), np.array(values))
    assert sharp.posterior != plain.posterior
    kinds = [type(proof.query) for proof in prover.proofs]
    assert sorted(kind.__name__ for kind in kinds) == ["LikelihoodQuery", "RolloutQuery"]
    # The likelihood is that of the boxed ending.
    [likelihood] = [proof for proof in prover.proofs if isinstance(proof.query, LikelihoodQuery)]
    assert prover.tokenizer.decode(likelihood.probes[0].suffix).endswith("\\boxed")


async def test_where_no_likelihood_can_be_had_the_posterior_is_as_without_and_says_so(
    make_scorer: MakeScorer,
) -> None:
    scorer = make_scorer(ScriptedProver([0.5] * 4, answer="x " * 300))
    options = ScoreOptions(estimator=Rollouts("rollouts", num_samples=4, likelihood_prior=True))
    [scored] = await scorer.score([make_trace("t", answer=("x " * 300,))], options)
    assert scored.posterior == posterior(scored.values, PathPrior())
    assert any("likelihood_prior has no effect here" in warning for warning in scored.warnings)
