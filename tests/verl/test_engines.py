"""What a run must be for its own replicas to prove, and what it is told where it is not."""

from __future__ import annotations

import pytest
from mrt_verl import expand
from omegaconf import DictConfig
from verl.utils.import_utils import load_extern_object
from verl.utils.reward_score import default_compute_score

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
        ["actor_rollout_ref.model.lora_rank=8", "actor_rollout_ref.model.lora.merge=True"],
        ["data.max_prompt_length=100", "data.max_response_length=836", f"{ROLLOUT}.max_model_len=1000"],
    ],
)
def test_a_run_whose_replicas_have_the_policys_weights_is_taken(overrides: list[str]) -> None:
    expanded(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.v1.trainer_mode=separate_async"], r"trainer_mode=separate_async: .*; with sync or colocate_async"),
        (["+rollout.nnodes=1"], r"go with rollout: one step off, .*Start `mrt-reward serve`"),
        ([f"{ROLLOUT}.name=trtllm"], r"rollout\.name=trtllm: its server returns no log-probabilities"),
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
def test_what_could_not_be_proved_rightly_is_refused_by_name(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expanded(*overrides)


@pytest.mark.parametrize("url", ["rollout", "pool"])
def test_earlier_versions_of_verl_cannot(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(expand.verl, "__version__", "0.8.0")
    with pytest.raises(ConfigError, match=rf"url={url} needs veRL 0\.9\.x, and this is 0\.8\.0"):
        expand.expand(composed(SWITCH, f"reward.mrt.url={url}"))


MODEL = "reward.reward_model"
GPU = [f"{MODEL}.nnodes=1", f"{MODEL}.n_gpus_per_node=1", f"{MODEL}.rollout.tensor_model_parallel_size=1"]


def pooled(*overrides: str) -> DictConfig:
    config = composed(SWITCH, "reward.mrt.url=pool", "actor_rollout_ref.model.path=/models/policy", *overrides)
    assert expand.expand(config)
    return config


def test_a_pool_is_started_with_the_policys_first_weights_and_stays_awake(capsys: pytest.CaptureFixture[str]) -> None:
    config = pooled(*GPU)
    model = config.reward.reward_model
    assert (model.enable, model.enable_resource_pool, model.rollout.free_cache_engine) == (True, True, False)
    assert (model.model_path, model.rollout.name) == ("/models/policy", "vllm")
    # veRL takes a pool without a function for a classifier, and asks it for rewards.
    score = config.reward.custom_reward_function
    assert load_extern_object(score.path, score.name) is default_compute_score
    assert "[mrt] veRL starts /models/policy in a pool of its own" in capsys.readouterr().out
    chosen = pooled(*GPU, f"{MODEL}.model_path=/models/prover", f"{MODEL}.rollout.name=sglang")
    assert (chosen.reward.reward_model.model_path, chosen.reward.reward_model.rollout.name) == (
        "/models/prover",
        "sglang",
    )
    own = pooled(*GPU, "reward.custom_reward_function.path=/mine.py", "reward.custom_reward_function.name=f")
    assert own.reward.custom_reward_function == {"path": "/mine.py", "name": "f"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"nnodes=0: the prover needs GPUs that nobody else has: add reward\.reward_model\.nnodes=1 .*=N"),
        (GPU[:2], r"tensor_model_parallel_size=2: 1 GPUs are no multiple of it: add .*size=1"),
        ([*GPU, f"{MODEL}.enable=True"], r"enable=True: the pool is that of a reward model of yours"),
        ([*GPU, f"{MODEL}.rollout.name=trtllm"], r"name=trtllm: its server returns no log-probabilities"),
        (
            [*GPU, f"+{MODEL}.rollout.logprobs_mode=raw_logits"],
            r"reward_model\.rollout\.logprobs_mode=raw_logits: probes",
        ),
        (
            [*GPU, "data.max_prompt_length=100", "data.max_response_length=836", f"{MODEL}.rollout.max_model_len=999"],
            r"reward_model\.rollout\.max_model_len=999: .* needs 1000 tokens: raise it",
        ),
        ([*GPU, "+rollout.nnodes=1"], r"url=pool: rollout: the trainer one step off .*Start `mrt-reward serve`"),
        ([*GPU, "reward.mrt.admin_url=http://a:1"], r"url=pool asks no server, and reward\.mrt\.admin_url"),
        ([*GPU, "reward.mrt.mode=prefix"], r"mode=prefix asks no prover: leave reward\.mrt\.url=pool out"),
    ],
)
def test_a_pool_that_could_not_prove_is_reported(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pooled(*overrides)
