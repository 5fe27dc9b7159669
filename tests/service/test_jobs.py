from __future__ import annotations

from dataclasses import replace

import pytest

from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.jobs import prepare
from mrt_reward.types import Trace
from tests.service.conftest import WordGrader, make_trace, speller


@pytest.mark.parametrize("changed", [{"engine": "vllm"}, {"model": "m"}, {"version": "2"}, {"dtype": "bfloat16"}])
def test_nothing_cached_is_taken_for_another_provers(changed: dict[str, str]) -> None:
    prover = ScriptedProver([0.25, 0.5, 0.5, 1.0])
    job = prepare(make_trace("t"), ScoreOptions(), prover.tokenizer, WordGrader(), speller)
    info = replace(prover.info, dtype="float32")
    keys = job.keys(info, "sha")
    assert len(set(keys)) == len(job.cuts)
    assert keys == job.keys(replace(info, note="told to people, and changes no value"), "sha")
    assert not set(keys) & set(job.keys(replace(info, **changed), "sha"))
    assert not set(keys) & set(job.keys(info, "another tokenizer"))


def test_draws_depend_on_the_prefix_and_the_seed_and_not_on_who_proves() -> None:
    def seeds(seed: int, text: str) -> list[int]:
        options = ScoreOptions(estimator=Rollouts("rollouts", seed=seed))
        trace = Trace("t", problem="Q?", completion=text, answer=("42",))
        return prepare(trace, options, ScriptedProver([0.5]).tokenizer, WordGrader(), speller).seeds()

    first = seeds(0, "one\n\ntwo</think> 42")
    assert first == seeds(0, "one\n\ntwo</think> 42")
    assert len(set(first)) == len(first)
    assert not set(first) & set(seeds(1, "one\n\ntwo</think> 42"))
    # What two traces have in common is drawn alike.
    assert seeds(0, "three</think> 42")[0] == first[0]


def test_draws_are_those_of_earlier_versions_and_coupled_ones_are_others() -> None:
    def made(*, coupled: bool = False, keep_answers: bool = False) -> tuple[list[int], tuple[bytes, ...]]:
        trace = Trace("t", problem="Q?", completion="one\n\ntwo</think> 42", answer=("42",))
        chosen = ScoreOptions(estimator=Rollouts("rollouts", coupled=coupled, keep_answers=keep_answers))
        job = prepare(trace, chosen, ScriptedProver([0.5]).tokenizer, WordGrader(), speller)
        return job.seeds(), job.digests

    # A file of cached values outlives an upgrade, so an option that is new must not move what does not use it.
    assert made()[0] == [1437147413, 2413550992]
    assert made(keep_answers=True)[0] == [3024341821, 2243500717]
    coupled, digests = made(coupled=True)
    assert len(set(coupled)) == 1
    assert not set(digests) & set(made()[1])
