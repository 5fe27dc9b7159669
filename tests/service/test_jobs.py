from __future__ import annotations

from dataclasses import replace

import pytest

from mrt_reward.options import ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.jobs import prepare
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
