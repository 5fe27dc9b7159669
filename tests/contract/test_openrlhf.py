"""What the adapter relies on of OpenRLHF 0.11.2: an upgrade that changes it fails here, and not in somebody's run."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("openrlhf") is None:
    pytest.skip("OpenRLHF is not installed: make test-openrlhf runs these", allow_module_level=True)

# What OpenRLHF imports of flash-attn, which is not there without a GPU.
sys.path.append(str(Path(__file__).parents[1] / "openrlhf" / "cpu" / "site"))

from mrt_openrlhf.checks import VERSIONS
from openrlhf.models import Actor
from openrlhf.models.utils import compute_reward
from openrlhf.trainer import ppo_trainer, ppo_trainer_async
from openrlhf.trainer.ppo_utils import experience_maker
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray import create_vllm_engines, launcher, ppo_actor, vllm_engine
from openrlhf.utils.agent import AgentExecutorBase, SingleTurnAgentExecutor
from openrlhf.utils.config import hierarchize
from openrlhf.utils.deepspeed import DeepspeedStrategy

ESTIMATORS = ["gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo", "flash_reinforce"]


def parameters(function: object) -> list[str]:
    """Names of its parameters, less the one that Ray adds to methods of its actors' bases."""
    return [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]  # type: ignore[arg-type]


def main_source() -> str:
    found = importlib.util.find_spec("openrlhf.cli.train_ppo_ray")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_text(encoding="utf-8")


def test_it_is_a_version_that_the_adapter_knows() -> None:
    assert version("openrlhf") in VERSIONS


def test_main_parses_then_nests_then_trains_with_names_that_can_be_replaced() -> None:
    source = main_source()
    assert "from openrlhf.trainer.ray import create_vllm_engines" in source
    parsed, imported = source.index("args = parser.parse_args()"), source.index("import hierarchize")
    nested, checked = source.index("args = hierarchize(args)"), source.index("# Validate arguments")
    assert parsed < imported < nested < checked < source.index("    train(args)")
    assert "if not ray.is_initialized():" in source
    assert parameters(hierarchize) == ["args"]


def test_engines_are_made_with_an_agents_path_and_a_reward_by_keyword() -> None:
    assert {"agent_func_path", "remote_rm_url"} <= set(parameters(create_vllm_engines))
    source = main_source()
    assert "agent_func_path=args.train.agent_func_path," in source
    assert "remote_rm_url=args.reward.remote_url," in source
    assert parameters(vllm_engine._load_agent_executor) == ["agent_func_path"]


def test_the_environment_that_openrlhf_gives_ray_is_the_one_that_we_give() -> None:
    from mrt_openrlhf.launch import _THEIRS  # noqa: PLC0415 - to compare

    source = main_source()
    assert all(f'"{name}": os.environ.get("{name}", "{value}")' in source for name, value in _THEIRS.items())


def test_agents_are_called_as_ours_is() -> None:
    wanted = ["self", "prompt", "label", "sampling_params", "max_length", "hf_tokenizer", "llm_engine", "images"]
    assert parameters(AgentExecutorBase.execute) == parameters(SingleTurnAgentExecutor.execute) == wanted
    assert parameters(SingleTurnAgentExecutor.__init__) == ["self", "remote_rm_url"]


def test_extra_logs_become_a_row_per_sample() -> None:
    source = inspect.getsource(SamplesGenerator._process_response_into_experience)
    assert "info[key] = torch.tensor([value])" in source
    assert "action_mask[1:truncate_length]" in source


def test_evaluation_has_a_loader_of_its_own_that_is_kept_where_we_put_ours() -> None:
    source = inspect.getsource(SamplesGenerator.generate_eval_samples)
    assert 'if getattr(self, "_eval_dataloader_iter", None) is None:' in source
    assert "dataloader_iter=self._eval_dataloader_iter" in source


def test_a_round_of_sampling_is_one_call_and_its_labels_go_through_one_method() -> None:
    assert parameters(SamplesGenerator.generate_samples) == ["self", "generate_kwargs"]
    sent = parameters(SamplesGenerator._dispatch_prompts_to_vllm)
    assert sent == ["self", "prompts", "labels", "images", "generate_kwargs"]


def test_advantages_are_worked_out_in_one_method_and_rewards_in_one_function() -> None:
    maker = experience_maker.RemoteExperienceMaker
    assert parameters(maker.compute_advantages_and_returns) == ["self", "experiences"]
    source = inspect.getsource(maker.compute_advantages_and_returns)
    assert source.count("compute_reward(") == 1
    assert all(f'"{name}"' in source for name in ESTIMATORS)
    assert "1e-9" in source
    assert parameters(compute_reward) == ["r", "kl_coef", "kl", "action_mask", "reward_clip_range"]
    assert experience_maker.compute_reward is compute_reward
    names = {field.name for field in fields(Experience)}
    assert {"sequences", "action_mask", "advantages", "returns", "values", "rewards", "index", "info"} <= names


def test_a_groups_factors_are_those_that_dropped_rows_are_left_out_of() -> None:
    source = inspect.getsource(experience_maker.RemoteExperienceMaker.compute_advantages_and_returns)
    assert "(rewards.sum(-1, keepdim=True) - rewards) / (args.rollout.n_samples_per_prompt - 1)" in source
    assert "(rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-9)" in source
    assert source.index("rewards = rewards.reshape(-1)[indices].split(exp_len)") < source.index("compute_reward(")


def test_an_adapter_is_saved_alone() -> None:
    assert "model_to_save.save_pretrained(output_dir, **kwargs)" in inspect.getsource(DeepspeedStrategy.save_model)
    assert 'parser.add_argument("--ds.lora.rank", type=int, default=0)' in main_source()


def test_every_trainer_logs_what_it_says_of_a_rollout_and_saves_with_its_step() -> None:
    trainer = ppo_trainer.BasePPOTrainer
    actors: list[Any] = [ppo_trainer.PPOTrainer, ppo_trainer_async.TrainingActor]
    for actor in actors:
        sent = actor.__ray_metadata__.modified_class
        assert issubclass(sent, trainer)
        assert parameters(sent._compute_rollout_stats) == ["self", "experiences"]
        assert parameters(sent.save_logs_and_checkpoints)[:2] == ["self", "global_step"]
    step = inspect.getsource(trainer.train_step)
    assert step.index("make_experience_batch") < step.index("rollout_stats = self._compute_rollout_stats(experiences)")
    assert "status.update(rollout_stats)" in step
    assert "global_step{global_step}" in inspect.getsource(trainer.save_logs_and_checkpoints)


def policy_class() -> Any:
    """The class behind the actor of the policy."""
    actor: Any = ppo_actor.PolicyModelActor
    return actor.__ray_metadata__.modified_class


def test_a_policy_tells_log_probabilities_through_its_group_of_processes() -> None:
    group: Any = launcher.RayActorGroup
    assert parameters(group.async_run_method_batch) == ["self", "method_name", "kwargs"]
    source = inspect.getsource(group)
    assert "effective_actors = num_actors // self.duplicate_actors" in source
    assert "num_actors = len(self._actor_handlers)" in source
    assert "self.actor_model_group = actor_model_group" in inspect.getsource(ppo_trainer.BasePPOTrainer.__init__)
    forward = inspect.getsource(policy_class().forward)
    assert "action_log_probs = self.actor(" in forward
    assert "self.actor.eval()" in forward
    # They are those of the sampling temperature, of the actor's own weights, and for tokens behind the last prompt's.
    assert "temperature=strategy.args.rollout.temperature" in inspect.getsource(ppo_actor)
    assert "self.ema_model if args.train.enable_ema else self.actor" in inspect.getsource(ppo_actor)
    assert "log_probs[:, -action_mask.shape[1] :] * action_mask.float()" in inspect.getsource(Actor.forward)


def test_nobody_else_deletes_what_is_saved_for_a_prover() -> None:
    saved = inspect.getsource(policy_class().save_checkpoint)
    assert 'save_path = os.path.join(args.ckpt.path, f"{tag}_hf")' in saved
    assert 'os.path.join(args.ckpt.path, "_actor")' in saved


def test_both_trainers_read_datasets_by_one_function_that_shuffles_by_position() -> None:
    imported = "from openrlhf.trainer.ppo_trainer import BasePPOTrainer, compute_eval_metrics, prepare_datasets"
    assert imported in inspect.getsource(ppo_trainer_async)
    assert parameters(ppo_trainer.prepare_datasets) == ["strategy", "tokenizer"]
    assert inspect.getsource(ppo_trainer.prepare_datasets).count("        1,\n        True,\n        True,\n") == 1
