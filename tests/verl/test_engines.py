"""What a run must be for its own replicas to prove, and what it is told where it is not."""

from __future__ import annotations

import pytest
from mrt_verl import expand

from mrt_reward.errors import ConfigError
from tests.verl.test_switch import SWITCH, composed

ROLLOUT = "actor_rollout_ref.rollout"


def expanded(*overrides: str) -> None:
    config = composed(SWITCH, "reward.mrt.url=rollout", *overrides)
    assert expand.expand(config)
    assert config.reward.reward_manager.name == "MRTRewardManager"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.v1.trainer_mode=colocate_async"],
        ["trainer.use_v1=False"],
        [f"{ROLLOUT}.name=sglang"],
        ["actor_rollout_ref.model.lora_rank=8", "+actor_rollout_ref.model.lora.merge=True"],
        ["data.max_prompt_length=100", "data.max_response_length=836", f"{ROLLOUT}.max_model_len=1000"],
    ],
)
def test_a_run_whose_replicas_have_the_policys_weights_is_taken(overrides: list[str]) -> None:
    expanded(*overrides)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["trainer.v1.trainer_mode=separate_async"], r"trainer_mode=separate_async: .*; with sync or colocate_async"),
        ([f"{ROLLOUT}.name=trtllm"], r"rollout\.name=trtllm: its server tells no log-probabilities"),
        (["actor_rollout_ref.model.lora_rank=8"], r"model\.lora_rank: .*without the adapter.*lora\.merge=True"),
        ([f"{ROLLOUT}.disaggregation.enabled=True"], r"disaggregation\.enabled=True: a prefill server alone"),
        ([f"+{ROLLOUT}.checkpoint_manager_class=a.B"], r"checkpoint_manager_class: .*leave it out"),
        ([f"{ROLLOUT}.logprobs_mode=raw_logits"], r"logprobs_mode=raw_logits: probes need probabilities"),
        (
            ["data.max_prompt_length=100", "data.max_response_length=836", f"{ROLLOUT}.max_model_len=999"],
            r"max_model_len=999: .* needs 1000 tokens: raise it",
        ),
        (["reward.mrt.follow_steps=2"], r"follow_steps needs weights in Hugging Face format"),
        (["reward.mrt.admin_url=http://a:1"], r"reward\.mrt\.url=rollout asks no server, and reward\.mrt\.admin_url"),
        (["reward.mrt.mode=prefix"], r"mode=prefix asks no prover: leave reward\.mrt\.url=rollout out"),
        (["+async_training.staleness=1"], "fully asynchronous"),
    ],
)
def test_what_could_not_be_proved_rightly_is_refused_by_name(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        expanded(*overrides)


def test_earlier_versions_of_verl_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expand.verl, "__version__", "0.8.0")
    with pytest.raises(ConfigError, match=r"url=rollout needs veRL 0\.9\.x, and this is 0\.8\.0"):
        expanded()
