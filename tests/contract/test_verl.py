"""What the adapter relies on of veRL 0.9: an upgrade that changes it fails here, and not in somebody's run."""

from __future__ import annotations

import importlib.util
import inspect
from importlib.metadata import entry_points

import pytest

if importlib.util.find_spec("verl") is None:
    pytest.skip("veRL is not installed: make test-verl runs these", allow_module_level=True)

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from mrt_verl.agent_loop_v1 import queue_methods
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopOutput, AgentLoopWorker
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo import core_algos, ray_trainer
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.utils import need_critic
from verl.trainer.ppo.v1 import trainer_base
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ
from verl.utils.config import validate_config
from verl.utils.tracking import Tracking


def parameters(function: object) -> list[str]:
    """Names of its parameters, less the one that Ray adds to methods of its actors' bases."""
    return [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]  # type: ignore[arg-type]


def test_verl_loads_plug_ins_by_entry_point() -> None:
    assert [entry.value for entry in entry_points(group="verl.plugins") if entry.name == "mrt"] == [
        "mrt_verl.plugin:register"
    ]


def test_every_main_validates_the_configuration_by_keyword() -> None:
    assert parameters(validate_config) == ["config", "use_reference_policy", "use_critic"]
    assert parameters(need_critic) == ["config"]


def test_reward_managers_are_made_and_called_as_ours_is() -> None:
    assert parameters(RewardManagerBase.__init__) == ["self", "config", "tokenizer", "compute_score"]
    assert parameters(RewardManagerBase.run_single) == ["self", "data"]
    assert parameters(load_reward_manager) == ["config", "tokenizer", "reward_kwargs"]


def test_the_agent_loop_has_the_three_places_that_are_extended() -> None:
    assert parameters(AgentLoopWorker._run_agent_loop) == [
        "self",
        "sampling_params",
        "trajectory",
        "agent_name",
        "trace",
        "kwargs",
    ]
    assert "_compute_score([output], kwargs=kwargs)" in inspect.getsource(AgentLoopWorker._agent_loop_postprocess)
    assert parameters(AgentLoopWorker._compute_score) == ["self", "outputs", "kwargs"]
    assert parameters(AgentLoopWorker._postprocess) == ["self", "inputs", "input_non_tensor_batch", "validate"]
    assert {"response_ids", "response_mask", "reward_score", "extra_fields"} <= set(AgentLoopOutput.model_fields)
    assert "agent_loop_workers_class" in inspect.getsource(AgentLoopManager.__init__)


def test_the_queues_worker_adds_methods_that_call_no_super() -> None:
    methods = queue_methods()
    assert {"generate_sequences", "_run_prompt", "_agent_loop_postprocess"} <= set(methods)
    assert "_compute_score(outputs, kwargs=kwargs)" in inspect.getsource(methods["_agent_loop_postprocess"])
    assert "trajectory=trajectory" in inspect.getsource(methods["_run_prompt"])
    assert not [name for name, method in methods.items() if "super()" in inspect.getsource(method)]
    assert "agent_loop_workers_class" in inspect.getsource(AgentLoopManagerTQ.__init__)


def test_the_output_puts_the_outcome_on_the_last_token() -> None:
    output = AgentLoopOutput(prompt_ids=[1], response_ids=[1, 2], response_mask=[1, 1], reward_score=0.5, metrics={})  # type: ignore[arg-type]
    fields = output.as_dict()
    assert fields["rm_scores"].tolist() == [0.0, 0.5]
    assert isinstance(fields["extra_fields"], dict)


def test_estimators_are_registered_by_name_and_get_rewards_mask_and_groups() -> None:
    assert parameters(core_algos.register_adv_est) == ["name_or_enum"]
    source = inspect.getsource(ray_trainer.compute_advantage)
    assert all(f'"{name}"' in source for name in ("token_level_rewards", "response_mask", "config", "index"))
    assert parameters(core_algos.compute_grpo_outcome_advantage)[:4] == [
        "token_level_rewards",
        "response_mask",
        "index",
        "epsilon",
    ]


def test_a_training_steps_metrics_are_logged_with_its_number() -> None:
    assert parameters(Tracking.log) == ["self", "data", "step", "backend"]
    assert '"training/global_step"' in inspect.getsource(trainer_base.PPOTrainer._compute_metrics)
    assert '"training/global_step"' in inspect.getsource(ray_trainer.RayPPOTrainer.fit)


def test_hydra_reads_files_through_a_class_that_can_be_extended() -> None:
    assert parameters(FileConfigSource.__init__) == ["self", "provider", "path"]
    assert parameters(FileConfigSource.load_config) == ["self", "config_path"]
