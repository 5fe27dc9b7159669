"""What the adapter relies on of veRL 0.9: an upgrade that changes it fails here, and not in somebody's run."""

from __future__ import annotations

import importlib.util
import inspect
from importlib.metadata import entry_points
from pathlib import Path

import pytest

if importlib.util.find_spec("verl") is None:
    pytest.skip("veRL is not installed: make test-verl runs these", allow_module_level=True)

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from mrt_verl.agent_loop_v1 import queue_methods
from omegaconf import OmegaConf
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineManager, CheckpointEngineRegistry
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopOutput, AgentLoopWorker
from verl.experimental.one_step_off_policy import ray_trainer as one_step_off
from verl.experimental.reward_loop import reward_loop, reward_model
from verl.experimental.reward_loop.reward_manager import naive
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.experimental.separation import utils as separation
from verl.trainer import main_ppo
from verl.trainer.ppo import core_algos, ray_trainer
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.utils import need_critic
from verl.trainer.ppo.v1 import trainer_base, trainer_colocate_async, trainer_separate_async, trainer_sync
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ
from verl.utils import device
from verl.utils.config import validate_config
from verl.utils.ray_utils import auto_await
from verl.utils.tracking import Tracking
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient, LLMServerManager
from verl.workers.rollout.replica import RolloutReplica, TokenOutput
from verl.workers.rollout.router import GlobalRequestLoadBalancer

LOGGED = "self.logger.log(data=metrics, step=self.global_steps)"


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


def test_the_agent_loop_has_the_three_methods_that_are_extended() -> None:
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


PACKAGE = Path(inspect.getsourcefile(Tracking) or "").parents[1]


def source_of(path: str) -> str:
    """Of a module that an engine needs to be imported."""
    return (PACKAGE / path).read_text()


def test_replicas_are_found_through_the_client_and_its_balancer() -> None:
    assert parameters(LLMServerClient._acquire_server) == ["self", "request_id", "extra"]
    assert "return await self._load_balancer.acquire_server.remote(" in inspect.getsource(LLMServerClient)
    assert "self._acquire_server(" in inspect.getsource(LLMServerClient.generate)
    assert "self._load_balancer = load_balancer_handle" in inspect.getsource(LLMServerClient.__init__)
    assert parameters(GlobalRequestLoadBalancer.get_all_servers) == ["self"]
    assert GlobalRequestLoadBalancer({"a:1": None, "b:2": None}).get_all_servers() == ["a:1", "b:2"]
    # Who is acquired goes by the address that has the HTTP routes.
    assert "zip(self.server_addresses, self.server_handles" in inspect.getsource(LLMServerManager)
    assert isinstance(RolloutReplica.server_address, property)
    assert "self.llm_client = llm_client" in inspect.getsource(AgentLoopManager.__init__)
    assert "server_manager=self.llm_client" in inspect.getsource(AgentLoopWorker._run_agent_loop)


def test_replicas_write_and_say_with_which_weights_and_how_probable() -> None:
    assert {"token_ids", "log_probs", "extra_fields"} <= set(TokenOutput.model_fields)
    for client in (LLMServerClient, FullyAsyncLLMServerClient):
        assert parameters(client.generate)[:4] == ["self", "request_id", "prompt_ids", "sampling_params"]
        source = inspect.getsource(client.generate)
        assert all(f'"{end}_global_steps"' in source for end in ("min", "max"))
    for path in ("vllm_rollout/vllm_async_server.py", "sglang_rollout/async_sglang_server.py"):
        source = source_of(f"workers/rollout/{path}")
        assert 'extra_fields = {"global_steps": self.global_steps}' in source
        assert 'sampling_params.pop("max_tokens")' in source
        assert 'sampling_params.pop("logprobs", False)' in source
    assert "self.tokenizer = " in inspect.getsource(AgentLoopWorker)
    assert "self.llm_client = llm_client" in inspect.getsource(AgentLoopWorker)


def test_a_replica_of_vllm_serves_the_openai_application_at_its_address() -> None:
    source = source_of("workers/rollout/vllm_rollout/vllm_async_server.py")
    assert "app = build_app(args, **build_app_kwargs)" in source
    assert "await run_uvicorn(app, args, self._server_address)" in source
    assert '"logprobs_mode": self.config.logprobs_mode' in source
    assert '"enable_prefix_caching": self.config.enable_prefix_caching' in source
    # It goes by its folder, alone, so that no name need be given.
    assert 'server_args = ["serve", self.model_config.local_path]' in source


def test_a_replica_of_sglang_serves_its_own_routes() -> None:
    source = source_of("workers/rollout/sglang_rollout/async_sglang_server.py")
    assert "await run_uvicorn(app, server_args, self._server_address)" in source


def test_every_trainer_puts_replicas_to_sleep_and_updates_weights_through_one_class() -> None:
    assert parameters(inspect.unwrap(CheckpointEngineManager.update_weights)) == ["self", "global_steps"]
    for name in ("sleep_replicas", "abort_replicas", "update_weights"):
        assert inspect.iscoroutinefunction(inspect.unwrap(getattr(CheckpointEngineManager, name)))
    assert parameters(auto_await) == ["func"]
    for module in (trainer_sync, trainer_colocate_async):
        source = inspect.getsource(module)
        assert "self.checkpoint_manager.update_weights(self.global_steps)" in source
        assert "self.checkpoint_manager.sleep_replicas()" in source
    assert "abort_replicas()" in inspect.getsource(trainer_colocate_async)
    assert "self.checkpoint_manager.update_weights(self.global_steps)" in inspect.getsource(ray_trainer)


def test_weights_are_updated_for_the_first_time_after_reward_managers_are_imported() -> None:
    setup = inspect.getsource(trainer_base.PPOTrainer._setup)
    assert setup.index("RewardLoopManager(") < setup.index("CheckpointEngineManager(")
    init = inspect.getsource(trainer_base.PPOTrainer.init)
    assert init.index("self._setup()") < init.index("self.on_init_end()")
    source = inspect.getsource(reward_loop.RewardLoopManager.__init__)
    assert "resolve_reward_manager_cls(config)" in source


def test_a_replica_forgets_what_it_cached_with_its_weights() -> None:
    """So that probes need no salt, with which they would not find the trace that was just written."""
    vllm = source_of("workers/rollout/vllm_rollout/vllm_rollout.py")
    assert "await self.server_handle.clear_kv_cache.remote()" in vllm
    server = source_of("workers/rollout/vllm_rollout/vllm_async_server.py")
    clear = server[server.index("async def clear_kv_cache") :]
    assert "await self.engine.reset_prefix_cache(reset_connector=True)" in clear[: clear.index("async def release")]
    assert "flush_cache()" in source_of("workers/rollout/sglang_rollout/async_sglang_server.py")


def test_the_trainers_that_url_rollout_refuses_are_still_those() -> None:
    """One whose weights and members change while it writes; a new mode has to be looked at."""
    modes = set(trainer_base.TRAINER_REGISTRY)
    assert modes == {"sync", "colocate_async", "separate_async"}
    assert "add_replicas_to_balancer" in inspect.getsource(trainer_separate_async)


def test_separate_async_gives_replicas_the_weights_of_a_step_before_it_is_logged() -> None:
    source = inspect.getsource(trainer_base.PPOTrainer.fit)
    assert source.index("self._save_checkpoint()") < source.index("self.on_step_end()") < source.index(LOGGED)
    ends = inspect.getsource(trainer_separate_async.PPOTrainerSeparateAsync.on_step_end)
    assert "self.standalone_checkpoint_manager.update_weights(self.global_steps)" in ends
    # The agent loop's manager comes from the same place for all modes, and its replicas by way of the client.
    assert "agent_loop_manager_class" in inspect.getsource(main_ppo)
    assert "llm_client=self.trainer.get_llm_client()" in inspect.getsource(main_ppo)


def test_one_step_off_is_of_the_legacy_trainers_kind_and_names_weights_by_the_step_that_they_write_for() -> None:
    """So its agent loop's manager has no queue, and its replicas vouch for nothing."""
    assert issubclass(one_step_off.OneStepOffRayTrainer, ray_trainer.RayPPOTrainer)
    made = inspect.getsource(one_step_off.OneStepOffRayTrainer._init_async_rollout_manager)
    assert "from verl.experimental.agent_loop import AgentLoopManager" in made
    assert "agent_loop_manager_class" in made
    step = inspect.getsource(one_step_off.OneStepOffRayTrainer.fit_step)
    assert step.index("self._fit_generate(") < step.index("self._fit_update_actor(")
    assert "self._fit_update_weights()" not in step
    assert "self._fit_update_weights()" in inspect.getsource(one_step_off.OneStepOffRayTrainer._fit_generate)
    updates = inspect.getsource(one_step_off.OneStepOffRayTrainer._fit_update_weights)
    assert "self.checkpoint_manager.update_weights(self.global_steps)" in updates
    assert '"training/global_step"' in step
    assert LOGGED in inspect.getsource(one_step_off.OneStepOffRayTrainer._fit_postprocess_step)
    main = source_of("experimental/one_step_off_policy/main_ppo.py")
    assert main.index("validate_config(\n") < main.index("trainer = OneStepOffRayTrainer(")
    assert "Role.RewardModel" not in inspect.getsource(separation.create_role_worker_mapping)


def test_the_fully_asynchronous_main_looks_for_its_device_before_anything_starts_and_validates_nothing() -> None:
    main = source_of("experimental/fully_async_policy/fully_async_main.py")
    assert "from verl.utils.device import auto_set_device" in main
    assert main.index("auto_set_device(config)") < main.index("run_ppo(config")
    assert "validate_config" not in main
    assert "async_training" in OmegaConf.load(
        PACKAGE / "experimental/fully_async_policy/config/fully_async_ppo_trainer.yaml"
    )
    assert parameters(device.auto_set_device) == ["config"]


def test_weights_go_to_replicas_on_other_gpus_by_an_engine_that_can_be_added() -> None:
    """What stands for NCCL in `tests/verl/cpu/handover.py`."""
    assert parameters(vars(CheckpointEngineRegistry)["register"]) == ["backend"]
    names = {"prepare", "build_topology", "init_process_group", "finalize", "send_weights", "receive_weights"}
    assert CheckpointEngine.__abstractmethods__ == names
    rollout = OmegaConf.load(PACKAGE / "trainer/config/rollout/rollout.yaml")
    assert "custom_backend_module" in rollout.checkpoint_engine


def test_settings_that_replicas_are_checked_for_are_there() -> None:
    rollout = OmegaConf.load(PACKAGE / "trainer/config/rollout/rollout.yaml")
    for name in ("dtype", "max_model_len", "logprobs_mode", "disaggregation.enabled"):
        assert OmegaConf.select(rollout, name, default="missing") != "missing", name
    assert "name" in list(rollout)
    # What tells the trainer that is one step off: its replicas stand under a key of their own.
    apart = OmegaConf.load(PACKAGE / "experimental/one_step_off_policy/config/one_step_off_ppo_trainer.yaml")
    assert "rollout" in apart
    assert "rollout" not in OmegaConf.load(PACKAGE / "trainer/config/ppo_trainer.yaml")
    assert rollout.logprobs_mode == "processed_logprobs"


def test_replicas_of_reward_models_go_by_these_names() -> None:
    vllm = source_of("workers/rollout/vllm_rollout/vllm_async_server.py")
    assert 'name = f"{prefix}server_reward_{self.replica_rank}_{node_rank}{self.name_suffix}"' in vllm
    assert 'return "vllm_"' in vllm
    sglang = source_of("workers/rollout/sglang_rollout/async_sglang_server.py")
    assert 'name = f"sglang_server_reward_{self.replica_rank}_{node_rank}{self.name_suffix}"' in sglang
    for source in (vllm, sglang):
        assert "def get_server_address(self):" in source
    made = inspect.getsource(reward_model.RewardModelManager._initialize_llm_servers)
    assert "num_replicas = world_size // rollout_world_size" in made
    assert "is_reward_model=True" in made
    assert "name_suffix" not in made


def test_a_pool_of_reward_models_is_asked_for_rewards_only_without_a_function() -> None:
    source = inspect.getsource(reward_loop.RewardLoopWorker.compute_score)
    assert "if self.config.reward.custom_reward_function.path is not None:" in source
    assert "if self.config.rollout.free_cache_engine:" in inspect.getsource(reward_model.RewardModelManager.__init__)
    config = OmegaConf.load(PACKAGE / "trainer/config/reward/reward.yaml")
    wanted = ("enable", "enable_resource_pool", "nnodes", "n_gpus_per_node", "model_path")
    assert set(wanted) <= set(config.reward_model)
    assert {"name", "free_cache_engine", "dtype", "max_model_len"} <= set(config.reward_model.rollout)
    assert "reward_router_address" in parameters(naive.NaiveRewardManager.__init__)
