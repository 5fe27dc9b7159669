"""Random models of the shapes of Qwen3, made where they are measured: knowledge changes neither speed nor rounding."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from mrt_reward.mini import MODEL_DIR

_SMALL: Mapping[str, int] = {
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}

SIZES: Mapping[str, Mapping[str, int]] = {
    "0.6B": {**_SMALL, "hidden_size": 1024, "intermediate_size": 3072, "vocab_size": 151_936},
    "1.7B": {**_SMALL, "hidden_size": 2048, "intermediate_size": 6144, "vocab_size": 151_936},
    "tiny": {
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "hidden_size": 64, "intermediate_size": 96, "vocab_size": 4608,
    },
}  # fmt: skip

CONTEXT = 32_768

LOGIT_STD = 5.0
"""Of the logits of a row. Above √(2 ln V), 4.9 for 151,936 tokens, a few of them have nearly all of the probability, as
in a trained model."""

QUERY_SCALE = 4.0
"""Of the normalised queries, so that attention looks at a few of 16,000 tokens and not at their mean, where no wrong
mask would show."""


def build(size: str, folder: Path, device: torch.device) -> Path:
    """A model with the tokenizer of the bundled one, whose ids are below its vocabulary, in bfloat16."""
    config: Any = cast("Any", transformers).Qwen3Config(
        **SIZES[size],
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        eos_token_id=2,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    with device:
        model: Any = cast("Any", transformers.AutoModelForCausalLM).from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        # A normalised state of width d times weights of deviation w has logits of deviation w · √d.
        model.model.norm.weight.fill_(LOGIT_STD / (config.initializer_range * config.hidden_size**0.5))
        for layer in model.model.layers:
            layer.self_attn.q_norm.weight.fill_(QUERY_SCALE)
    model.save_pretrained(folder)
    for file in MODEL_DIR.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder
