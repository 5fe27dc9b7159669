"""Tiny random models of many families, with windows and states that matter within a hundred tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import transformers

from tests.provers.conftest import TEMPLATE, byte_level, save_tokenizer

WINDOW = 24
"""Tokens; cuts of the tests lie before, at and far beyond it."""

_SHAPE: dict[str, object] = {
    "vocab_size": 404,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 347,
    "pad_token_id": 0,
    "initializer_range": 0.12,
}
_EXPERTS: dict[str, object] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_DELTA: dict[str, object] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]

FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen3": {},
    "qwen3_moe": _EXPERTS,
    "mistral": {"sliding_window": WINDOW},
    "gemma2": {"sliding_window": WINDOW, "attn_logit_softcapping": 4.0},
    "gemma3_text": {"sliding_window": WINDOW, "layer_types": _MIXED},
    "gpt_oss": {
        "sliding_window": WINDOW, "layer_types": _MIXED, "num_local_experts": 4, "num_experts_per_tok": 2,
    },
    "llama4_text": {"attention_chunk_size": WINDOW, "num_local_experts": 2, "intermediate_size_mlp": 96},
    "mamba2": {"num_heads": 8, "state_size": 8, "n_groups": 1, "expand": 2, "chunk_size": 16},
    "nemotron_h": {
        "hybrid_override_pattern": "M*-M", "num_hidden_layers": 4, "mamba_num_heads": 8, "mamba_head_dim": 16,
        "ssm_state_size": 8, "n_groups": 2, "chunk_size": 16,
    },
    "qwen3_next": {**_EXPERTS, **_DELTA, "shared_expert_intermediate_size": 32},
    "qwen3_5_text": _DELTA,
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "bloom": {},
    "mamba": {"state_size": 8},
    "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
}  # fmt: skip
"""By transformers' name; what differs from the common shape."""


PACKED, WALKED, REFUSED = "packed", "cut by cut", "refused"

WAYS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("llama", "qwen3", "qwen3_moe"), (PACKED, PACKED)),
    **dict.fromkeys(("mistral", "gemma2", "gemma3_text", "gpt_oss"), (PACKED, WALKED)),
    **dict.fromkeys(("llama4_text", "mamba2", "nemotron_h", "qwen3_next", "qwen3_5_text"), (WALKED, WALKED)),
    **dict.fromkeys(("lfm2", "bloom"), (WALKED, WALKED)),
    **dict.fromkeys(("mamba", "jamba"), (REFUSED, REFUSED)),
}
"""How the embedded engine asks each of them for likelihoods and for rollouts; the README says the same."""


def save_family(folder: Path, family: str, **changes: object) -> Path:
    """A random model of a family, whole enough to be served."""
    torch.manual_seed(0)
    config: Any = cast("Any", transformers.AutoConfig).for_model(family, **{**_SHAPE, **FAMILIES[family], **changes})
    cast("Any", transformers.AutoModelForCausalLM).from_config(config).float().save_pretrained(folder)
    save_tokenizer(folder, byte_level(), chat_template=TEMPLATE)
    return folder
