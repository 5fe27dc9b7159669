"""A module that somebody else owns and trains, lent to the prover for a while and given back as it was.

The prover needs a model in evaluation mode, with attention that knows packed rows, logits in float32, and the forward
that its class defines: without the precision, the fused heads or the compiler that a trainer put around it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from mrt_reward.errors import ConfigError

HEAD_ROWS = 16_384
"""Tokens of the vocabulary whose weights are held in float32 at once."""

SERVER = "start `mrt-reward serve` and set url to it, with follow_steps where the prover is to follow the policy"
"""What is there for a policy that cannot prove by itself."""

Attention = Sequence[tuple[Any, str | None]]
"""Each configuration of a model, and the attention that it names."""


@contextmanager
def lent(model: Any) -> Generator[None]:  # noqa: ANN401 - of transformers
    """Let a model prove. Afterwards its modes, attention, forward and head are what they were, whatever happened.

    What a forward keeps for the next one, such as tables of angles, stays, as tensors that can be trained through.
    """
    with ExitStack() as undo:
        undo.callback(_make_trainable, model)
        undo.callback(set_attention, attention_of(model))
        undo.enter_context(evaluating(model))
        for module in model.modules():
            _replace(module, "_compiled_call_impl", None, undo)
        _replace(model, "forward", None, undo)
        head = model.get_output_embeddings()
        if isinstance(head, torch.nn.Linear) and head.weight.dtype != torch.float32:
            _replace(head, "forward", partial(full_precision_logits, head), undo)
        yield


@contextmanager
def evaluating(model: torch.nn.Module) -> Generator[None]:
    """Have a module in evaluation mode; afterwards each of its parts is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def full_precision_logits(head: torch.nn.Linear, hidden: Tensor) -> Tensor:
    """A last layer's logits in float32; its weights are so for some rows at a time, and no copy of them is kept."""
    wide, parts = hidden.float(), cast("Sequence[Tensor]", head.weight.split(HEAD_ROWS))
    logits = torch.cat([wide @ rows.float().T for rows in parts], dim=-1)
    return logits if head.bias is None else logits + head.bias.float()  # pyright: ignore[reportUnnecessaryComparison] - None without one


def _replace(module: torch.nn.Module, name: str, by: object, undo: ExitStack) -> None:
    """Put something in the place of what stands in a module itself, not in its class; None takes it away."""
    if name in module.__dict__:
        undo.callback(module.__dict__.__setitem__, name, module.__dict__.pop(name))
    if by is not None:
        module.__dict__[name] = by
        undo.callback(module.__dict__.__delitem__, name)


def attention_of(model: Any) -> Attention:  # noqa: ANN401 - of transformers
    """The attention that a model's configurations name at present."""
    return [(config, config._attn_implementation) for config in _configs(model)]  # noqa: SLF001 - has no other name


def set_attention(attention: Attention) -> None:
    """Name it again, where it was another since.

    transformers' own way would look anew whether the model may have what it had, and load kernels for it.
    """
    for config, name in attention:
        config._attn_implementation_internal = name  # noqa: SLF001


def _configs(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """The configurations of a model and of its parts, each once."""
    owners = (module for module in model.modules() if hasattr(module, "config"))
    found = {id(owner.config): owner.config for owner in owners}
    for config in tuple(found.values()):
        parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", ()))
        found |= {id(part): part for part in parts if part is not None}
    return (config for config in found.values() if hasattr(config, "_attn_implementation_internal"))


def _make_trainable(model: torch.nn.Module) -> None:
    """Copy what was made while nothing could be trained: autograd refuses such tensors ever after."""
    for module in model.modules():
        for kept in (module.__dict__["_buffers"], module.__dict__):
            found = [(name, each) for name, each in kept.items() if isinstance(each, Tensor) and each.is_inference()]
            kept.update({name: each.clone() for name, each in found})


def whole(module: Any) -> Any:  # noqa: ANN401 - whatever a trainer trains
    """The transformers model of a policy, whose weights are all in this process.

    The layers of an adapter (PEFT) are in that model.

    Raises:
        ConfigError: it cannot prove; says why, and what to give or to use instead.

    """
    kind = type(module).__name__
    if isinstance(module, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)):
        raise ConfigError(f"a policy that is wrapped in {kind} cannot prove: give its .module, which has its weights")
    if kind == "OptimizedModule":
        raise ConfigError("a compiled policy cannot prove: give its ._orig_mod, which has its weights")
    if getattr(getattr(module, "active_peft_config", None), "is_prompt_learning", False):
        raise ConfigError(f"a policy whose adapter ({kind}) is a learned prompt cannot prove: {SERVER}")
    if hasattr(module, "peft_config") and hasattr(module, "get_base_model"):
        module = module.get_base_model()
    if not hasattr(module, "get_output_embeddings") or not hasattr(module, "config"):
        raise ConfigError(f"expected a policy that is a causal language model of transformers, got {kind}")
    if why := _scattered(cast("torch.nn.Module", module)):
        raise ConfigError(f"this policy cannot prove, because {why}: {SERVER}")
    return module


def _scattered(model: torch.nn.Module) -> str:
    """Why not all weights are here; empty where they are."""
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in model.modules()):
        return "FSDP shards its weights over processes"
    for weights in model.parameters():
        if type(weights).__name__ == "DTensor":
            return "its weights are sharded over processes (DTensor, of FSDP2 or tensor parallelism)"
        if hasattr(weights, "ds_id"):
            return "DeepSpeed's ZeRO-3 shards its weights over processes"
        if weights.is_meta:
            return "some of its weights are offloaded and not in memory"
    return ""
