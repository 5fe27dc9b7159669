"""The bundled model as policy and prover, against enumeration and against plain transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.bundled import MINI
from mrt_reward.mini.exact import exact_values
from mrt_reward.mini.island import Problem, sample_problems, walk
from mrt_reward.mini.policy import SampledTrace, SamplingSettings, load_model, sample_traces
from mrt_reward.mini.truth import prefixes, revealed_values
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status, Trace
from tests.service.conftest import WordGrader

Policy = tuple[LlamaForCausalLM, Tokenizer]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_model()


@pytest.fixture(scope="module")
def sampled(policy: Policy) -> list[list[SampledTrace]]:
    return sample_traces(policy, sample_problems(6, seed=42), 3, SamplingSettings(seed=1))


def test_traces_come_in_groups_within_their_budget(sampled: list[list[SampledTrace]]) -> None:
    assert [len(group) for group in sampled] == [3] * 6
    for group in sampled:
        assert len({trace.problem for trace in group}) == 1
        for trace in group:
            assert len(trace.completion_ids) <= MINI.budget_tokens
            if trace.is_truncated:
                assert len(trace.completion_ids) == MINI.budget_tokens
            else:
                assert template.boxed_answer(trace.completion) is not None


def test_the_same_seed_gives_the_same_traces(policy: Policy, sampled: list[list[SampledTrace]]) -> None:
    seen: list[tuple[int, int]] = []
    again = sample_traces(
        policy,
        sample_problems(6, seed=42),
        3,
        SamplingSettings(seed=1),
        lambda done, total: seen.append((done, total)),
    )
    assert again == sampled
    assert seen == sorted(seen)
    assert seen[-1][1] == 18
    other = sample_traces(policy, sample_problems(6, seed=42), 3, SamplingSettings(seed=2))
    assert other != sampled


def test_a_budget_cuts_a_trace(policy: Policy) -> None:
    [[trace]] = sample_traces(policy, sample_problems(1, seed=3), 1, SamplingSettings(budget_tokens=5))
    assert trace.is_truncated
    assert len(trace.completion_ids) == 5
    assert not trace.is_right
    assert trace.thinking == trace.completion


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"budget_tokens": 0}, "budget_tokens must be at least 1"), ({"temperature": 0.0}, "temperature must be above 0")],
)
def test_impossible_sampling_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SamplingSettings(**settings)


WALK = re.compile(r"From (\d+), one step leads to (\d+)((?:, \w+ to \d+)*)\.\n")


def test_the_policy_walks_as_the_map_says(sampled: list[list[SampledTrace]]) -> None:
    right: list[bool] = []
    for trace in (trace for group in sampled for trace in group):
        for found in WALK.finditer(trace.thinking):
            places = (int(found[2]), *(int(place) for place in re.findall(r"to (\d+)", found[3])))
            right.append(places == walk(int(found[1]), trace.problem.steps))
    assert len(right) >= 18
    assert np.mean(right) > 0.97


def test_no_thought_gives_chance_on_average(policy: Policy) -> None:
    # Per number of candidates the card tells it more closely, on more problems.
    above = [
        exact_values(*policy, problem, [""])[0] - 1 / len(problem.candidates) for problem in sample_problems(40, seed=7)
    ]
    assert abs(np.mean(above)) < 0.02


async def _scored(problem: Problem, completion: str, options: ScoreOptions) -> ScoredTrace:
    prover = TransformersProver(EngineSettings(model=str(MODEL_DIR), device="cpu", threads=1))
    scorer = Scorer(prover, {"word": WordGrader()}, lambda answer: (answer,))
    try:
        [scored] = await scorer.score(
            [Trace("t", completion=completion, problem=problem.text, answer=(str(problem.answer),))], options
        )
    finally:
        await scorer.close()
    assert scored.status is Status.OK
    return scored


async def test_likelihood_is_the_provers_own_success_rate(policy: Policy, sampled: list[list[SampledTrace]]) -> None:
    for group in sampled[:3]:
        trace = group[0]
        scored = await _scored(trace.problem, trace.completion, ScoreOptions(estimator=Likelihood()))
        texts = ["", *(trace.completion[: episode.char_end] for episode in scored.episodes)]
        exact_P = exact_values(*policy, trace.problem, texts)
        assert [value.value for value in scored.values] == pytest.approx(exact_P, abs=1e-4)


async def test_rollouts_estimate_the_same_rate(policy: Policy, sampled: list[list[SampledTrace]]) -> None:
    trace = sampled[0][0]
    options = ScoreOptions(estimator=Rollouts(kind="rollouts", num_samples=400, temperature=1.0, top_p=1.0))
    scored = await _scored(trace.problem, trace.completion, options)
    texts = ["", *(trace.completion[: episode.char_end] for episode in scored.episodes)]
    exact_P = exact_values(*policy, trace.problem, texts)
    for value, exact in zip(scored.values, exact_P, strict=True):
        assert value.value is not None
        # Four standard errors of 400 draws; of a rate near 0 or 1, at least one draw.
        assert abs(value.value - exact) <= 4 * (exact * (1 - exact) / 400) ** 0.5 + 1 / 400


def test_values_are_nearer_to_what_was_revealed_than_its_mean_is(
    policy: Policy, sampled: list[list[SampledTrace]]
) -> None:
    errors: list[float] = []
    revealed: list[float] = []
    for group in sampled:
        texts = prefixes(group[0].thinking)
        revealed_P = revealed_values(group[0].problem, texts)
        errors += abs(exact_values(*policy, group[0].problem, texts) - revealed_P).tolist()
        revealed += revealed_P.tolist()
    assert np.mean(errors) < 0.25 * np.mean(np.abs(np.array(revealed) - np.mean(revealed)))


def test_the_folder_is_small_and_plain() -> None:
    files = {path.name: path.stat().st_size for path in Path(MODEL_DIR).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= files.keys()
    assert sum(files.values()) <= 8_000_000
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl", ".py"))]
