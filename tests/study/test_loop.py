from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.custom_loop.train import Loop
from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.charts import SHORT
from mrt_reward.training.records import Record, Scored
from tests.study.arms import ARMS, Arm, arm_of
from tests.study.loop import StudyLoop, Written
from tests.study.runs import new_loop, settings_of
from tests.study.stages import STAGES, specs, stage_of
from tests.study.test_runs import SPEC
from tests.study.values import ValueSpec


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> StudyLoop:
    return new_loop(replace(SPEC, values=ValueSpec("revealed")), tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="module")
def rollouts(loop: StudyLoop) -> Written:
    torch.manual_seed(0)
    return loop.think(loop.draw(np.random.default_rng(0)))


def test_log_probabilities_are_those_of_the_custom_loop(loop: StudyLoop, rollouts: Written) -> None:
    rows = torch.arange(4)
    is_response = rollouts.mask[:, rollouts.num_prompt :].bool()
    with torch.no_grad():
        ours, theirs = loop.logprobs(rollouts, rows), Loop.logprobs(loop, rollouts, rows)
    assert torch.allclose(ours[is_response], theirs[is_response], atol=2e-3, rtol=1e-3)
    assert not ours[~is_response].any()


def test_gradients_are_those_of_the_custom_loop(loop: StudyLoop, rollouts: Written) -> None:
    is_response = rollouts.mask[:, rollouts.num_prompt :].bool()
    gradients: list[torch.Tensor] = []
    for logprobs in (loop.logprobs, lambda *given: Loop.logprobs(loop, *given)):
        loop.policy.zero_grad()
        logprobs(rollouts, torch.arange(4))[is_response].mean().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in loop.policy.parameters()]))
    loop.policy.zero_grad()
    assert torch.allclose(*gradients, atol=1e-5, rtol=1e-3)
    assert gradients[0].norm() > 0


def test_values_come_from_what_is_revealed_or_from_a_prover_in_this_process(loop: StudyLoop, rollouts: Written) -> None:
    revealed, _ = asyncio.run(loop.score(rollouts))
    proving = ValueSpec("likelihood", prover=MODEL_DIR)
    proved_loop = StudyLoop(loop.settings, loop.arm, loop.regime, proving)

    async def scored() -> tuple[list[Record], dict[str, float]]:
        try:
            return await proved_loop.score(rollouts)
        finally:
            await proved_loop.close()

    proved, how = asyncio.run(scored())
    assert how["mrt/prover/probes"] > 0
    for ours, theirs in zip(revealed, proved, strict=True):
        assert ours.scored is not None
        assert theirs.scored is not None
        # The same episodes in the same tokens, by whichever way they were valued.
        assert (ours.scored.ends, ours.scored.cut_off) == (theirs.scored.ends, theirs.scored.cut_off)
        assert ours.outcome == theirs.outcome
        assert ours.scored.value_P[0] in (1 / 3, 1 / 4)


def test_a_following_prover_proves_with_the_policys_own_weights(
    loop: StudyLoop, rollouts: Written, tmp_path: Path
) -> None:
    changed = StudyLoop(loop.settings, loop.arm, loop.regime, ValueSpec("likelihood", prover=MODEL_DIR, following=True))
    with torch.no_grad():
        for weight in changed.policy.parameters():
            weight.mul_(1.05)
    changed.export(tmp_path)
    frozen = StudyLoop(loop.settings, loop.arm, loop.regime, ValueSpec("likelihood", prover=tmp_path))

    async def values(made: StudyLoop) -> list[float]:
        try:
            records, _ = await made.score(rollouts)
        finally:
            await made.close()
        return [float(value) for record in records if record.scored for value in record.scored.value_P]

    assert asyncio.run(values(changed)) == asyncio.run(values(frozen))
    with pytest.raises(ConfigError, match="no prover that could follow"):
        ValueSpec("revealed", following=True)


def test_length_costs_what_the_arm_says(loop: StudyLoop, rollouts: Written) -> None:
    response = rollouts.response(0)
    plain = loop.outcome(response)
    priced = StudyLoop(loop.settings, Arm("priced", length_penalty=0.5), loop.regime, loop.values)
    used = len(response.response_ids) / SHORT.budget_tokens
    assert priced.outcome(response) == pytest.approx(plain - 0.5 * used)


def test_progress_as_one_number_goes_to_the_outcome_alone(loop: StudyLoop) -> None:
    scalar = StudyLoop(loop.settings, replace(arm_of("scalar")), loop.regime, loop.values)
    reading = Record(Scored(0, (2, 4), np.array([0.25, 0.25, 0.75]), cut_off=False), outcome=1.0, num_tokens=4)
    [report] = [scalar.with_scalar(reading)]
    assert (report.outcome, report.scored) == (1.5, None)


def test_outcomes_that_are_dealt_out_stay_in_their_group(loop: StudyLoop) -> None:
    size = loop.settings.group_size
    records = [Record(None, outcome=float(row), num_tokens=4) for row in range(4 * size)]
    lot = StudyLoop(loop.settings, arm_of("lot"), loop.regime, loop.values)
    outcomes = [record.outcome for record in lot.dealt_out(records)]
    groups = [outcomes[start : start + size] for start in range(0, 4 * size, size)]
    assert [sorted(group) for group in groups] == [
        [float(row) for row in range(start, start + size)] for start in range(0, 4 * size, size)
    ]
    assert outcomes != sorted(outcomes)
    assert outcomes == [record.outcome for record in lot.dealt_out(records)]


def test_each_kind_of_values_is_asked_for_by_the_settings_of_any_user() -> None:
    asked = [ValueSpec(source).asked() for source in ("answers", "coupled", "posterior", "revealed")]
    assert [each.get("coupled") for each in asked] == [False, True, True, None]
    assert [each.get("paid_values") for each in asked] == [None, None, "posterior", None]
    assert [ValueSpec(source, 2).name for source in ("posterior", "likelihood")] == ["posterior2", "likelihood"]


@pytest.mark.parametrize("arm", ["forced", "masked", "rate-16", "anytime-4", "group-closing", "pass"])
def test_every_way_to_pay_pays_a_batch(arm: str, rollouts: Written, tmp_path: Path) -> None:
    made = new_loop(replace(SPEC, arm=arm, values=ValueSpec("revealed")), tmp_path)
    readings, _ = asyncio.run(made.score(rollouts))
    advantage_BT, _ = made.pay(readings)
    assert bool(advantage_BT.isfinite().all())
    assert advantage_BT.shape == rollouts.mask[:, rollouts.num_prompt :].shape


def test_every_arm_is_a_set_of_settings_that_a_user_can_choose() -> None:
    for arm in ARMS.values():
        made = settings_of(arm, SHORT, ValueSpec("answers", 2))
        assert (made.alpha, made.num_samples) == (arm.mrt["alpha"], 2)
        assert made.credit_config().baseline == arm.mrt.get("baseline", "none")


def test_a_stage_is_made_seed_after_seed(tmp_path: Path) -> None:
    values = ValueSpec("revealed")
    planned = specs(stage_of("quick"), tmp_path, values)
    assert [(each.arm, each.seed) for each in planned] == [
        (arm, seed) for seed in (0, 1) for arm in STAGES["quick"].arms
    ]
    assert len({each.name for each in planned}) == len(planned)
    assert len(specs(stage_of("one"), tmp_path, values)) == 2 * len(ARMS)
    given: Any = {"arms": ("rate-4",), "seeds": (7,)}
    assert [(each.arm, each.seed) for each in specs(stage_of("one"), tmp_path, values, **given)] == [("rate-4", 7)]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no arm 'best'; there are outcome"):
        arm_of("best")
    with pytest.raises(ConfigError, match="there is no stage 'nine'; there are quick"):
        stage_of("nine")
