"""A module is lent to the prover, and given back as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import transformers
from torch import Tensor

from mrt_reward.errors import ConfigError
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.lending import HEAD_ROWS, attention_of, full_precision_logits, lent, set_attention, whole


def policy_of(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A model as a trainer holds it: in training mode, its first layer frozen in evaluation mode."""
    model: Any = cast("Any", transformers.AutoModelForCausalLM).from_pretrained(folder, dtype=dtype).train()
    model.model.layers[0].eval()
    return model


def state_of(model: Any) -> list[object]:
    """All that lending changes, and what else could be left behind."""
    parts = list(model.named_modules())
    return [
        [(name, type(part), part.training) for name, part in parts],
        [(name, buffer.tolist()) for name, buffer in model.named_buffers()],
        [(name, id(weights), weights.requires_grad, weights.grad) for name, weights in model.named_parameters()],
        [(name, sorted(vars(part)), len(part._forward_hooks), len(part._forward_pre_hooks)) for name, part in parts],
        [(id(config), name) for config, name in attention_of(model)],
        model.config.use_cache,
        model.get_output_embeddings(),
        model.is_gradient_checkpointing,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fails", [False, True])
def test_all_of_a_module_is_as_before_afterwards(qwen_dir: Path, dtype: torch.dtype, fails: bool) -> None:
    model = policy_of(qwen_dir, dtype)
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    model.forward = partial(model.forward)
    # What Module.compile() sets; compiling itself would take long.
    model.model._compiled_call_impl = lambda *args, **kwargs: None
    patched, compiled, before = model.forward, model.model._compiled_call_impl, state_of(model)
    with suppress(ZeroDivisionError), lent(model):
        assert not any(part.training for part in model.modules())
        assert "forward" not in vars(model)
        assert model.model._compiled_call_impl is None
        logits = model(input_ids=torch.tensor([[1, 2]])).logits
        assert logits.dtype == torch.float32
        # In bfloat16, logits would be so, too.
        assert not logits.equal(logits.bfloat16().float())
        model.set_attn_implementation(ATTENTION)
        _ = fails and 1 / 0
    assert state_of(model) == before
    assert model.forward is patched
    assert model.model._compiled_call_impl is compiled


def test_what_a_forward_keeps_can_be_trained_through(qwen_dir: Path) -> None:
    model = policy_of(qwen_dir)
    rotary = model.model.rotary_emb
    with lent(model), torch.inference_mode():
        rotary.register_buffer("inv_freq", rotary.inv_freq * 2, persistent=False)
        rotary.register_buffer("longer", torch.ones(3), persistent=False)
        rotary.table = torch.ones(2)
    kept = (rotary.inv_freq, rotary.longer, rotary.table)
    assert not any(tensor.is_inference() for tensor in kept)
    assert rotary.longer.tolist() == [1, 1, 1]
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()


def test_an_attention_is_named_again_without_looking_whether_it_is_there(qwen_dir: Path) -> None:
    model = policy_of(qwen_dir)
    [(config, _)] = attention_of(model)
    set_attention([(config, "flash_attention_2")])
    with lent(model):
        model.set_attn_implementation("eager")
    assert attention_of(model) == [(config, "flash_attention_2")]


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_in_halves_gives_the_logits_of_one_in_float32(bias: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 2 * HEAD_ROWS + 3, bias=bias, dtype=torch.bfloat16)
    hidden = torch.randn(2, 5, 8, dtype=torch.bfloat16)
    wanted = torch.nn.functional.linear(
        hidden.float(), head.weight.float(), head.bias.float() if bias else cast("Any", None)
    )
    assert torch.allclose(full_precision_logits(head, hidden), wanted, atol=1e-6)


def with_weights(make: Callable[[torch.nn.Parameter], object]) -> Any:
    """A model one of whose weights is what `make` says."""
    model: Any = torch.nn.Linear(2, 2)
    model.config, model.get_output_embeddings = SimpleNamespace(), lambda: None
    made = make(model.weight)
    model.parameters = lambda: [made]
    return model


class DTensor(Tensor):
    """Named as torch's own, which needs processes to be made."""


class FullyShardedDataParallel(torch.nn.Module):
    """Named as torch's own, which needs processes to be made."""


class OptimizedModule(torch.nn.Module):
    """Named as what torch.compile gives."""


def sharded_by_fsdp() -> Any:
    model = with_weights(lambda weights: weights)
    model.inner = FullyShardedDataParallel()
    return model


def in_zero3(weights: torch.nn.Parameter) -> object:
    cast("Any", weights).ds_id = 0
    return weights


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda: torch.nn.DataParallel(torch.nn.Linear(1, 1)), r"wrapped in DataParallel .*: give its \.module"),
        (OptimizedModule, r"compiled .*: give its \._orig_mod"),
        (
            lambda: SimpleNamespace(active_peft_config=SimpleNamespace(is_prompt_learning=True)),
            "learned prompt .*: start `mrt-reward serve`",
        ),
        (lambda: torch.nn.Linear(1, 1), "expected a policy that is a causal language model .*, got Linear"),
        (sharded_by_fsdp, "FSDP shards its weights .*: start `mrt-reward serve` and set url to it, with follow_steps"),
        (lambda: with_weights(lambda weights: weights.as_subclass(DTensor)), "sharded over processes .*serve"),
        (lambda: with_weights(in_zero3), "ZeRO-3 shards its weights .*serve"),
        (lambda: with_weights(lambda weights: weights.to("meta")), "offloaded and not in memory: .*serve"),
    ],
)
def test_a_policy_without_whole_weights_here_is_refused_with_what_to_use(
    policy: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        whole(policy())


def test_a_policy_in_one_piece_is_taken_as_it_is(qwen_dir: Path) -> None:
    model = policy_of(qwen_dir)
    assert whole(model) is model
    # PEFT's layers are in the model that it wraps.
    assert whole(SimpleNamespace(peft_config={}, get_base_model=lambda: model)) is model
