"""`reward.type=mrt`, from the command line's words to the keys that veRL's trainers read."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import verl
from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.errors import ConfigCompositionException
from mrt_verl import expand, plugin
from mrt_verl import main_ppo as launcher
from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo.utils import need_critic
from verl.utils import config as verl_config
from verl.utils import device

from mrt_reward.errors import ConfigError
from tests.server.conftest import threaded_server

SWITCH = "reward.type=mrt"
BASIC = [
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.rollout.name=vllm",
    "trainer.n_gpus_per_node=1",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as found:
        yield found


def composed(*overrides: str) -> DictConfig:
    """As veRL's own main composes it."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*BASIC, *overrides])


def composed_below(trainer: str, name: str, *overrides: str) -> DictConfig:
    """As a main below `verl.experimental` composes it, outside of veRL's sources."""
    given = [*BASIC, "hydra.searchpath=[pkg://verl.trainer.config]", *overrides]
    with initialize_config_dir(f"{verl.__path__[0]}/experimental/{trainer}/config", version_base=None):
        return compose(name, overrides=given)


def composed_one_step_off(*overrides: str) -> DictConfig:
    return composed_below("one_step_off_policy", "one_step_off_ppo_trainer", *overrides)


def expanded(url: str, *overrides: str) -> DictConfig:
    config = composed(SWITCH, f"reward.mrt.url={url}", *overrides)
    assert expand.expand(config)
    return config


def test_without_the_switch_nothing_changes() -> None:
    config = composed()
    before = OmegaConf.to_yaml(config)
    assert not expand.expand(config)
    assert OmegaConf.to_yaml(config) == before
    assert config.reward.reward_manager.name == "naive"
    assert config.algorithm.adv_estimator == "gae"


def test_the_switch_sets_manager_estimator_and_agent_loop(url: str) -> None:
    config = expanded(url, "reward.reward_manager.name=dapo", "reward.mrt.alpha=0.5")
    assert config.reward.reward_manager.module.path == "pkg://mrt_verl.reward_manager"
    assert config.reward.mrt_outcome_manager.name == "dapo"
    assert config.algorithm.adv_estimator == "mrt"
    agent = config.actor_rollout_ref.rollout.agent
    assert agent.agent_loop_manager_class == "mrt_verl.agent_loop_v1.MRTAgentLoopManagerTQ"
    assert config.algorithm.mrt == {"url": url, "alpha": 0.5, "regret_budget": config.data.max_response_length}
    assert expand.expand(config), "twice is as good as once"
    assert config.reward.mrt_outcome_manager.name == "dapo"
    assert not need_critic(config)


def test_the_legacy_trainer_gets_its_own_agent_loop(url: str) -> None:
    agent = expanded(url, "trainer.use_v1=False").actor_rollout_ref.rollout.agent
    assert agent.agent_loop_manager_class == "mrt_verl.agent_loop.MRTAgentLoopManager"


def test_the_switch_may_be_added_or_stand_in_a_yaml_file(url: str) -> None:
    config = composed("+reward.type=mrt", f"+reward.mrt.url={url}")
    assert expand.expand(config)
    written = OmegaConf.create({"reward": {"type": "mrt", "mrt": {"url": url, "credit": "to_go"}}})
    OmegaConf.set_struct(config, False)
    config = composed()
    OmegaConf.set_struct(config, False)
    merged = OmegaConf.merge(config, written)
    assert isinstance(merged, DictConfig)
    assert expand.expand(merged)
    assert merged.algorithm.mrt.credit == "to_go"


def test_validate_config_reads_the_switch_before_anything_starts(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.register()
    config = composed(SWITCH, f"reward.mrt.url={url}")
    verl_config.validate_config(config=config, use_reference_policy=False, use_critic=need_critic(config))
    assert config.algorithm.adv_estimator == "mrt"
    assert f"[mrt] {url} proves with" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reward.mrt.alhpa=0.5"], "unknown setting reward.mrt.alhpa; did you mean reward.mrt.alpha"),
        (["reward.mrt.credit=soon"], "reward.mrt.credit"),
        (["algorithm.use_kl_in_reward=True"], "actor.use_kl_loss=True"),
        (["algorithm.adv_estimator=rloo"], "adv_estimator=rloo cannot be had"),
        (["reward.reward_model.enable=True"], "enable_resource_pool=True"),
        (["++algorithm.filter_groups.enable=True", "++algorithm.filter_groups.metric=seq_reward"], "set it to acc"),
        (["+actor_rollout_ref.rollout.agent.agent_loop_manager_class=a.B"], "is taken by reward.type=mrt"),
        (["+async_training.staleness=1"], "fully asynchronous"),
        (["reward.mrt.follow_steps=2"], "checkpoint.save_contents=\\['model','optimizer','extra','hf_model'\\]"),
        (
            ["reward.mrt.follow_steps=2", "actor_rollout_ref.actor.checkpoint.save_contents=[hf_model]"],
            "add trainer.save_freq=2",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(url: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expanded(url, *overrides)


def test_a_server_that_is_not_there_is_reported_before_training() -> None:
    with pytest.raises(ConfigError, match=r"no progress server answers at reward\.mrt\.url=http://127\.0\.0\.1:9"):
        expanded("http://127.0.0.1:9")


def test_a_wrong_type_or_settings_without_the_switch_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="did you mean mrt"):
        expand.expand(composed("reward.type=mtr"))
    with pytest.raises(ConfigError, match=r"add reward\.type=mrt"):
        expand.expand(composed(f"reward.mrt.url={url}"))


@pytest.mark.parametrize("version", ["0.7.0", "0.10.0"])
def test_another_version_of_verl_is_refused(url: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verl.__version__", version)
    with pytest.raises(ConfigError, match=rf"with veRL 0\.9\.x, and by .* 0\.8\.0 and 0\.7\.1; this is {version}"):
        expanded(url)


def test_the_launcher_reads_the_switch_for_versions_that_validate_too_late(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verl.__version__", "0.8.0")
    ran: list[DictConfig] = []
    monkeypatch.setattr("verl.trainer.main_ppo.run_ppo", ran.append)
    launcher.main.__wrapped__(composed(SWITCH, f"reward.mrt.url={url}", "trainer.use_v1=False"))
    [config] = ran
    assert config.algorithm.adv_estimator == "mrt"
    agent = config.actor_rollout_ref.rollout.agent
    assert agent.agent_loop_manager_class == "mrt_verl.agent_loop.MRTAgentLoopManager"


def test_the_launcher_is_verls_own_main_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[DictConfig] = []
    monkeypatch.setattr("verl.trainer.main_ppo.main.__wrapped__", ran.append)
    config = composed()
    launcher.main.__wrapped__(config)
    assert ran == [config]


def test_where_nothing_reads_the_switch_hydra_does_not_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in stock veRL with its plug-ins off: a run that only looks as if it had progress rewards must not start.
    monkeypatch.delitem(sys.modules, "mrt_verl.plugin")
    with pytest.raises(ConfigCompositionException, match="type"):
        composed(SWITCH)


def test_a_verl_of_another_shape_says_so_in_the_log_because_verl_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("verl.utils.config.validate_config")
    with pytest.raises(AttributeError):
        importlib.reload(plugin)
    assert "reward.type=mrt will not work" in caplog.text


def test_verls_other_keys_are_still_strict() -> None:
    with pytest.raises(ConfigCompositionException):
        composed("reward.num_wrokers=2")
    with pytest.raises(ConfigCompositionException):
        composed_one_step_off("reward.num_wrokers=2")


def test_the_main_one_step_off_takes_the_switch_and_has_no_queue(url: str) -> None:
    config = composed_one_step_off(SWITCH, f"reward.mrt.url={url}", "reward.mrt.alpha=0.5")
    assert config.trainer.use_v1
    assert expand.expand(config)
    # With the V1 trainer's manager it would wait for a TransferQueue that nobody starts.
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class == "mrt_verl.agent_loop.MRTAgentLoopManager"
    assert (config.algorithm.adv_estimator, config.algorithm.mrt.alpha) == ("mrt", 0.5)


@pytest.mark.parametrize("given", [SWITCH, "+reward.type=mrt", "reward.mrt.alpha=2"])
def test_the_fully_asynchronous_main_is_refused_before_it_starts_although_it_validates_nothing(given: str) -> None:
    plain = composed_below("fully_async_policy", "fully_async_ppo_trainer")
    device.auto_set_device(plain)
    config = composed_below("fully_async_policy", "fully_async_ppo_trainer", given)
    with pytest.raises(ConfigError, match=r"fully asynchronous trainer.*trainer_mode=separate_async"):
        device.auto_set_device(config)


def test_the_main_of_another_application_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("hydra: {searchpath: [pkg://verl.trainer.config]}\ndefaults: [ppo_trainer]\n")
    with initialize_config_dir(str(tmp_path), version_base=None), pytest.raises(ConfigCompositionException):
        compose("mine", overrides=[*BASIC, SWITCH])
