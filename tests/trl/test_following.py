"""What a prover that follows needs of checkpoints, seen when the trainer is made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import FullyShardedDataParallelPlugin
from mrt_trl import following
from mrt_trl.following import Following, check_following
from peft import LoraConfig, get_peft_model
from torch.nn import Linear
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl, TrainerState, TrainingArguments

from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.training.settings import TrainingSettings
from tests.server.conftest import threaded_server
from tests.serving import free_port
from tests.trl.policy import scripted_problems, trainer

SETTINGS = TrainingSettings(follow_steps=2)


def made(**plugins: Any) -> Any:
    """A trainer as far as its checkpoints are concerned; it runs where nothing is sharded."""
    return SimpleNamespace(
        accelerator=SimpleNamespace(unwrap_model=lambda model: model, state=SimpleNamespace(**plugins)),
        model=Linear(1, 1),
        is_fsdp_enabled="fsdp_plugin" in plugins,
        is_deepspeed_enabled="deepspeed_plugin" in plugins,
        is_world_process_zero=lambda: False,
    )


def zero(**settings: Any) -> Any:
    """As accelerate keeps DeepSpeed's configuration."""
    return SimpleNamespace(deepspeed_config={"zero_optimization": settings})


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        (
            {"fsdp_plugin": FullyShardedDataParallelPlugin(state_dict_type="SHARDED_STATE_DICT")},
            "SHARDED_STATE_DICT hold shards: set fsdp_state_dict_type to FULL_STATE_DICT",
        ),
        (
            {"deepspeed_plugin": zero(stage=3, stage3_gather_16bit_weights_on_model_save=False)},
            "ZeRO-3 hold shards: set stage3_gather_16bit_weights_on_model_save .* to true",
        ),
    ],
)
def test_checkpoints_in_shards_are_refused_with_what_to_set(plugins: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mrt\.follow_steps needs checkpoints with whole weights, .*{message}"):
        check_following(made(**plugins), SETTINGS)
    check_following(made(**plugins), TrainingSettings())


@pytest.mark.parametrize(
    "plugins",
    [
        {"fsdp_plugin": FullyShardedDataParallelPlugin(state_dict_type="FULL_STATE_DICT")},
        {"deepspeed_plugin": zero(stage=3, stage3_gather_16bit_weights_on_model_save=True)},
        {"deepspeed_plugin": zero(stage=2)},
        {},
    ],
)
def test_whole_checkpoints_are_taken_and_one_process_asks_the_servers(plugins: dict[str, Any]) -> None:
    check_following(made(**plugins), SETTINGS)


def follower(folder: Path, weights_root: Path, **given: Any) -> None:
    """A real trainer whose prover is to follow it, and which is not started."""
    port = free_port()
    mrt = {"follow_steps": 2, "admin_url": f"http://127.0.0.1:{port}"}
    saving = {"save_strategy": "steps", "save_steps": 2, "train_dataset": scripted_problems()}
    with threaded_server(admin_port=port, weights_root=str(weights_root)) as url:
        trainer(folder, url, mrt, **saving, **given)


@pytest.mark.parametrize("by", ["config", "model"])
def test_an_adapter_alone_is_refused_before_training(tmp_path: Path, by: str) -> None:
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    given: dict[str, Any] = {"peft_config": lora}
    if by == "model":
        given = {"model": get_peft_model(AutoModelForCausalLM.from_pretrained(MODEL_DIR), lora)}
    with pytest.raises(ConfigError, match=r"PEFT model hold its adapter alone.*leave mrt\.follow_steps out"):
        follower(tmp_path, tmp_path, **given)


def test_a_server_that_may_not_load_checkpoints_is_reported_before_training(tmp_path: Path) -> None:
    follower(tmp_path, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match=rf"mrt\.follow_steps: .*outside .*--weights-root {tmp_path / 'out'}"):
        follower(tmp_path, other)


def test_checkpoints_are_deleted_by_trls_own_option(tmp_path: Path) -> None:
    mrt = {"follow_steps": 2, "keep_last": 3}
    with pytest.raises(ConfigError, match=r"mrt\.keep_last=3: .*set save_total_limit=3 in GRPOConfig"):
        trainer(
            tmp_path, "http://127.0.0.1:9", mrt, train_dataset=scripted_problems(),
            save_strategy="steps", save_steps=2,
        )  # fmt: skip


def saved(trainer: Any, step: int, note: Any) -> None:
    args = TrainingArguments(output_dir=trainer.folder, use_cpu=True, report_to=[])
    Following(trainer, SETTINGS, note).on_save(
        args, TrainerState(global_step=step, is_world_process_zero=trainer.first), TrainerControl()
    )


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("mixed", "precision"), [("no", "float32"), ("bf16", "bfloat16")])
def test_every_process_takes_part_in_the_canary_and_one_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, mixed: str, precision: str
) -> None:
    policy = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype="float32").train()
    num_forwards: list[int] = []
    policy.register_forward_hook(lambda *_: num_forwards.append(1))
    sent: list[tuple[Path, int, Any]] = []

    def hand_over(folder: Path, settings: Any, step: int, *, canary: Any) -> dict[str, float]:
        sent.append((folder, step, canary()))
        return {}

    monkeypatch.setattr(following, "hand_over", hand_over)
    made = SimpleNamespace(
        accelerator=SimpleNamespace(mixed_precision=mixed), model_wrapped=policy, first=first, folder=str(tmp_path),
        processing_class=AutoTokenizer.from_pretrained(MODEL_DIR),
    )  # fmt: skip
    for step in (1, 2):
        saved(made, step, lambda _: None)
    assert len(num_forwards) == 1
    assert policy.training
    assert len(sent) == first
    for folder, step, canary in sent:
        assert (folder, step) == (tmp_path / "checkpoint-2", 2)
        assert (canary.logprob < 0, canary.precision) == (True, precision)


def test_a_forward_in_fp8_does_not_vouch(caplog: pytest.LogCaptureFixture) -> None:
    made = SimpleNamespace(accelerator=SimpleNamespace(mixed_precision="fp8"))
    assert Following(made, SETTINGS, lambda _: None)._canary() is None
    assert "mixed_precision=fp8 changes" in caplog.text
