"""What the prover pays for texts that do no work: measured once for each version of the weights, or not known."""

from __future__ import annotations

import asyncio
from statistics import fmean

import pytest

from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.false_progress import TEXTS
from mrt_reward.service.scorer import Scorer
from tests.service.conftest import WordGrader, speller


def scorer_on(prover: ScriptedProver) -> Scorer:
    return Scorer(prover, {"word": WordGrader()}, speller)


def believing(text: str, _index: int) -> float:
    """Believes in a platitude, and in nothing else."""
    return 0.75 if "step by step" in text else 0.25


async def test_it_is_the_mean_of_what_the_texts_are_paid() -> None:
    scorer = scorer_on(ScriptedProver(believing))
    assert scorer.false_progress.mean is None
    await scorer.false_progress.measure()
    # One of the texts is paid 0.75 - 0.25, the others nothing.
    assert scorer.false_progress.mean == pytest.approx(fmean([0.5] + [0.0] * (len(TEXTS) - 1)))
    await scorer.close()


async def test_it_is_measured_once_for_each_version_and_unknown_in_between() -> None:
    prover = ScriptedProver([0.25, 0.25])
    scorer = scorer_on(prover)
    await scorer.false_progress.measure()
    num_calls = prover.num_calls
    assert num_calls == len(TEXTS)
    await scorer.false_progress.measure()
    assert prover.num_calls == num_calls
    prover.version = "2"
    assert scorer.false_progress.mean is None
    await scorer.false_progress.measure()
    assert (scorer.false_progress.mean, prover.num_calls) == (0.0, 2 * num_calls)
    await scorer.close()


async def test_what_cannot_be_measured_is_unknown_and_not_zero() -> None:
    prover = ScriptedProver([0.25, 0.25])
    scorer = scorer_on(prover)
    prover.unavailable = True
    await scorer.false_progress.measure()
    assert scorer.false_progress.mean is None
    prover.unavailable = False
    scorer.activity.draining = True
    await scorer.false_progress.measure()
    assert scorer.false_progress.mean is None
    scorer.activity.resume()
    await scorer.false_progress.measure()
    assert scorer.false_progress.mean == 0.0
    await scorer.close()


async def test_a_time_of_zero_never_measures_and_others_begin_at_once() -> None:
    prover = ScriptedProver([0.25, 0.25])
    scorer = scorer_on(prover)
    await scorer.false_progress.watch(0.0)
    assert prover.num_calls == 0
    watching = asyncio.create_task(scorer.false_progress.watch(3600))
    while scorer.false_progress.mean is None:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(0.001)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await scorer.close()
