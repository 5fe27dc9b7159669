"""What the adapter relies on of TRL 1.16: an upgrade that changes it fails here, and not in somebody's run."""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

if importlib.util.find_spec("trl") is None:
    pytest.skip("TRL is not installed: make test-trl runs these", allow_module_level=True)

import trl
from accelerate import Accelerator
from accelerate.utils import gather_object
from mrt_trl.checks import LOGP_LOSSES, RATIO_LOSSES
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_rollout_worker
from trl.generation.vllm_generation import VLLMGeneration

SOURCE = inspect.getsource(GRPOTrainer)


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_it_is_the_version_that_the_adapter_takes() -> None:
    assert trl.__version__.startswith("1.16.")


def test_the_trainer_is_made_as_ours_is() -> None:
    assert parameters(GRPOTrainer.__init__)[:5] == ["self", "model", "reward_funcs", "args", "train_dataset"]


def test_the_extended_methods_take_and_give_the_same() -> None:
    assert parameters(GRPOTrainer.train)[0] == "self"
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert parameters(GRPOTrainer._generate) == ["self", "prompts"]
    assert parameters(GRPOTrainer._calculate_rewards) == [
        "self",
        "inputs",
        "prompts",
        "completions",
        "completion_ids_list",
    ]
    assert "return prompt_ids, completion_ids, tool_mask, completions," in inspect.getsource(GRPOTrainer._generate)
    rewards = inspect.getsource(GRPOTrainer._calculate_rewards)
    assert "rewards_per_func = gather(rewards_per_func)\n        return rewards_per_func" in rewards


def test_generation_comes_before_rewards_and_both_before_advantages() -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    sites = [source.index(text) for text in ("self._generate(", "self._calculate_rewards(", '"advantages": advantages')]
    assert sites == sorted(sites)
    assert 'self.model.training else "eval"' in source
    # Rows without any reward are left out of their group, and paid nothing: that is how rows are dropped.
    assert "unscorable_mask = torch.isnan(rewards_per_func).all(dim=1)" in source
    assert "torch.nanmean(rewards.view(-1, num_generations), dim=1)" in source
    assert "advantages = torch.nan_to_num(advantages, nan=0.0)" in source
    assert "self.accelerator.process_index * len(prompts)" in source
    assert "(std_rewards + 1e-4)" in source


def test_the_loss_takes_an_advantage_per_token() -> None:
    source = inspect.getsource(GRPOTrainer._compute_loss)
    assert "if advantages.dim() == 1:" in source
    assert "mask = completion_mask if" in source
    known = [name for name in (*RATIO_LOSSES, *LOGP_LOSSES) if f'"{name}"' in source]
    assert known == [*RATIO_LOSSES, *LOGP_LOSSES]


def test_every_loss_of_the_configuration_is_known() -> None:
    reported = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    assert "Supported values are 'grpo', 'dr_grpo', 'dapo', 'bnpo', 'cispo', 'sapo', 'luspo', and 'vespo'." in reported
    assert GRPOConfig.__dataclass_fields__["loss_type"].default == "dapo"


def test_the_configuration_has_the_fields_that_are_read() -> None:
    names = {
        "loss_type",
        "importance_sampling_level",
        "scale_rewards",
        "multi_objective_aggregation",
        "ddp_timeout",
        "save_strategy",
        "save_steps",
        "max_completion_length",
        "num_generations",
    }
    assert names <= set(GRPOConfig.__dataclass_fields__)


def test_metrics_are_lists_by_mode_that_the_log_averages() -> None:
    assert 'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}' in SOURCE
    assert "metrics[key] = sum(valid) / len(valid)" in inspect.getsource(GRPOTrainer.log)


def test_objects_are_gathered_in_the_order_of_processes() -> None:
    assert parameters(gather_object) == ["object"]
    assert gather_object([1, 2]) == [1, 2]


def test_a_server_gets_weights_before_it_generates_and_forgets_what_it_cached() -> None:
    generate = inspect.getsource(GRPOTrainer._generate_single_turn)
    assert generate.index("self.vllm_generation.sync_weights()") < generate.index("self.vllm_generation.generate(")
    synchronised = inspect.getsource(VLLMGeneration.sync_weights)
    assert synchronised.rstrip().endswith("self.llm.reset_prefix_cache()")
    assert "self.vllm_client.reset_prefix_cache()" in synchronised
    # It is vLLM's own server, which has the routes that proofs need.
    served = (Path(trl.__file__).parent / "scripts" / "vllm_serve.py").read_text()
    assert '"processed_logprobs"' in served
    names = {field.name for field in fields(GRPOConfig)}
    assert {"use_vllm", "vllm_mode", "vllm_server_base_url", "vllm_server_host", "vllm_server_port"} <= names


def test_trls_asynchronous_grpo_goes_by_these_names_and_pays_sequences() -> None:
    assert (AsyncGRPOTrainer.__name__, AsyncGRPOConfig.__name__) == ("AsyncGRPOTrainer", "AsyncGRPOConfig")
    assert not issubclass(AsyncGRPOTrainer, GRPOTrainer)
    assert "advantage: float" in inspect.getsource(async_rollout_worker.RolloutSample)


def test_a_callback_hears_of_checkpoints() -> None:
    assert parameters(TrainerCallback.on_save) == ["self", "args", "state", "control", "kwargs"]
    assert PREFIX_CHECKPOINT_DIR == "checkpoint"


def test_checkpoints_lack_weights_where_we_look_for_it() -> None:
    made = inspect.getsource(Trainer)
    assert 'self.is_fsdp_enabled = getattr(self.accelerator.state, "fsdp_plugin", None) is not None' in made
    assert 'self.is_deepspeed_enabled = getattr(self.accelerator.state, "deepspeed_plugin", None) is not None' in made
    saved = inspect.getsource(Trainer.save_model)
    assert '"FULL_STATE_DICT" in str(self.accelerator.state.fsdp_plugin.state_dict_type)' in saved
    assert "stage3_gather_16bit_weights_on_model_save" in inspect.getsource(Accelerator.get_state_dict)
