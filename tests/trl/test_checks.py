"""What is refused, and what is said to set instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from mrt_trl import MRTGRPOTrainer
from mrt_trl.checks import (
    LOGP_LOSSES,
    RATIO_LOSSES,
    check_columns,
    check_config,
    check_loss_method,
    check_version,
)
from trl import GRPOConfig
from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer
from trl.experimental.gmpo import GMPOTrainer

from mrt_reward.errors import ConfigError
from mrt_reward.training.settings import load_training_settings
from tests.trl.policy import scripted_problems, scripted_server, trainer


def check(mrt: dict[str, Any] | None = None, **given: Any) -> None:
    check_config(GRPOConfig(bf16=False, use_cpu=True, **given), load_training_settings(mrt or {}, where="mrt"))


def test_all_losses_of_trl_are_taken_token_by_token() -> None:
    for loss_type in (*RATIO_LOSSES, *LOGP_LOSSES):
        check(loss_type=loss_type)
    for loss_type in LOGP_LOSSES:
        check(loss_type=loss_type, importance_sampling_level="sequence")


@pytest.mark.parametrize(
    ("mrt", "given", "message"),
    [
        ({}, {"loss_type": "new"}, "loss_type='new' is not known .* use one of dapo, grpo"),
        *(
            ({}, {"loss_type": name, "importance_sampling_level": "sequence"}, "loss_type=cispo, vespo")
            for name in RATIO_LOSSES
        ),
        ({"scale_by_std": True}, {"scale_rewards": "none"}, "set scale_rewards in GRPOConfig"),
        ({"scale_by_std": False}, {}, "contradicts scale_rewards='group'"),
        ({"truncated": "forced"}, {"scale_rewards": "batch"}, "set scale_rewards to 'group' or 'none'"),
        ({"mode": "prefix"}, {"scale_rewards": "batch"}, "set scale_rewards to 'group' or 'none'"),
        ({"mode": "prefix"}, {"multi_objective_aggregation": "normalize_then_sum"}, "'sum_then_normalize'"),
        ({"url": "policy"}, {"use_vllm": True}, "url=policy goes with use_vllm=False, .* start `mrt-reward serve`"),
        ({"url": "policy"}, {"torch_compile": True}, "url=policy goes with torch_compile=False"),
        ({"follow_steps": 4}, {"save_strategy": "no"}, 'set save_strategy="steps", save_steps=4'),
        ({"follow_steps": 4}, {"save_steps": 3}, "save_steps=3: set"),
        ({"follow_steps": 4}, {"save_steps": 0.5}, "save_steps=0.5: set"),
    ],
)
def test_what_does_not_go_together_is_refused(mrt: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(mrt, **given)


def test_scaling_may_be_said_twice_and_checkpoints_may_be_more_frequent() -> None:
    check({"scale_by_std": True}, scale_rewards="batch")
    check({"scale_by_std": False}, scale_rewards=False)
    check({"follow_steps": 4}, save_steps=2)


def test_a_trace_must_give_up_before_the_other_processes_do() -> None:
    args = GRPOConfig(bf16=False, use_cpu=True, ddp_timeout=200)
    settings = load_training_settings({}, where="mrt")
    check_config(args, settings)
    type(args).world_size, kept = property(lambda _: 2), type(args).world_size  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(ConfigError, match="Raise ddp_timeout"):
            check_config(args, settings)
    finally:
        type(args).world_size = kept  # type: ignore[method-assign]


@pytest.mark.parametrize("version", ["1.15.0", "1.17.0", "2.0.0"])
def test_another_version_of_trl_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match=rf"works with TRL 1.16.x, and this is {version}: .* Install trl==1.16.0"):
        check_version(version)


def test_trls_own_losses_per_sequence_are_refused() -> None:
    check_loss_method("my.trainer")
    with pytest.raises(ConfigError, match="takes one advantage per sequence"):
        check_loss_method(GMPOTrainer._compute_loss.__module__)


def test_trls_asynchronous_grpo_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"AsyncGRPOTrainer: .* works its advantages out in rollout workers"):
        type("Mixed", (AsyncGRPOTrainer, MRTGRPOTrainer), {})

    with pytest.raises(ConfigError, match=r"AsyncGRPOConfig: .* use GRPOConfig and MRTGRPOTrainer"):
        MRTGRPOTrainer("none", args=cast("Any", AsyncGRPOConfig(bf16=False, use_cpu=True)))


def test_a_dataset_needs_the_columns_that_are_read() -> None:
    settings = load_training_settings({}, where="mrt")
    check_columns(None, settings, "solution")
    check_columns(["prompt", "solution"], settings, "solution")
    with pytest.raises(
        ConfigError, match="has no column 'solution'; it has prompt, answer: name the one with the gold"
    ):
        check_columns(["prompt", "answer"], settings, "solution")
    check_columns(["prompt"], load_training_settings({"estimator": "rollouts"}, where="mrt"), "solution")
    prefix = load_training_settings({"mode": "prefix", "baseline": "termination"}, where="mrt")
    with pytest.raises(ConfigError, match="no column 'mrt_group'"):
        check_columns(["prompt"], prefix, "solution")
    with pytest.raises(ConfigError, match="no column 'mrt_value_prefix'"):
        check_columns(["prompt", "mrt_group"], prefix, "solution")


def test_a_misspelt_setting_is_refused_with_the_right_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting mrt.alhpa; did you mean mrt.alpha\?"):
        MRTGRPOTrainer("none", mrt={"alhpa": 1.0})


def test_a_server_that_is_down_is_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no progress server answers at mrt.url=http://127.0.0.1:9: .*mrt-reward serve"
    ):
        trainer(tmp_path, "http://127.0.0.1:9", train_dataset=scripted_problems())


def test_a_column_that_is_not_there_is_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    with scripted_server() as url, pytest.raises(ConfigError, match="no column 'solution'"):
        trainer(tmp_path, url, train_dataset=scripted_problems().remove_columns("solution"))
