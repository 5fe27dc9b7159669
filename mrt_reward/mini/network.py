"""The bundled model's network: a small Llama, and weights that it starts to learn from.

Dimension key: V vocabulary, D channels of the residual stream, H channels of a head.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import RopeParameters
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP

from mrt_reward.mini import template
from mrt_reward.mini.island import NUM_PLACES
from mrt_reward.mini.tokenizer import MAX_POSITIONS, VOCAB_SIZE, save_tokenizer, token_ids

HEAD_SIZE = 64
ROPE_THETA = 1e6
PLACE_FORMS = ("{}", " {}")
_WIDTH = 2 * HEAD_SIZE
"""Channels of the residual stream: room for 64 places, and as much for everything else."""
# About 1/sqrt(128): it keeps the signal's size in so narrow a network. With 0.02, 500 steps did not learn to copy.
_INITIAL_STD = 0.08
# Logits are products with embeddings, and five places at once have to stand out from 4,096 tokens.
_EMBEDDING_GAIN = 3.0
_COMMON_SHARE = 0.2
# Heads of a layer in turn: one adds the places it looks at, one everything else about them, one takes places away.
_HEAD_STRENGTHS = (1.0, 1.0, -2.0, 1.0)
_QUERY_GAIN = 0.3


@dataclass(frozen=True)
class NetworkSize:
    """How large the network is.

    Attributes:
        num_layers: of the transformer.
        num_heads: of 64 channels each; more than the width asks for, because the task is one of looking up.
        mlp_size: hidden channels of a feed-forward block.

    """

    num_layers: int = 4
    num_heads: int = 4
    mlp_size: int = 384


def new_model(size: NetworkSize, tokenizer: Tokenizer, seed: int) -> LlamaForCausalLM:
    """A Llama model with fresh weights."""
    torch.manual_seed(seed)
    end, pad = tokenizer.token_to_id(template.TURN_CLOSE), tokenizer.token_to_id(template.PAD)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=_WIDTH,
        head_dim=HEAD_SIZE,
        intermediate_size=size.mlp_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        num_key_value_heads=size.num_heads,
        max_position_embeddings=MAX_POSITIONS,
        # Slow rotations leave most channels of a head to compare what is far apart.
        rope_parameters=cast("RopeParameters", {"rope_type": "default", "rope_theta": ROPE_THETA}),
        tie_word_embeddings=True,
        initializer_range=_INITIAL_STD,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    _prepare_for_copying(model, tokenizer)
    return model


@torch.no_grad()
def _prepare_for_copying(model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    """Start where copying places is easy; from random weights, that is most of what has to be learned.

    Places are orthogonal, so that several may be held at once, and are much the same with and without the space before
    them. A head starts out copying the places it looks at, or taking them away, or copying all but the places; tied
    embeddings then say them. Attention starts out nearly even, and the feed-forward blocks say nothing yet.
    """
    embedding_VD = model.model.embed_tokens.weight
    embedding_VD.mul_(_EMBEDDING_GAIN)
    axes_DD = torch.nn.init.orthogonal_(torch.empty(_WIDTH, _WIDTH))
    places_HD, rest_HD = axes_DD[:NUM_PLACES], axes_DD[NUM_PLACES:]
    size = _EMBEDDING_GAIN * _INITIAL_STD * math.sqrt(_WIDTH)
    for number, form in enumerate(PLACE_FORMS):
        for place, token in enumerate(place_tokens(tokenizer, form)):
            own, common = math.sqrt(1 - _COMMON_SHARE) * places_HD[place], math.sqrt(_COMMON_SHARE) * rest_HD[number]
            embedding_VD[token] = size * (own + common)
    num_heads = model.config.num_attention_heads
    value_VD = torch.cat([(places_HD, rest_HD)[head % 2] for head in range(num_heads)])
    strength_V = torch.tensor(_HEAD_STRENGTHS[:num_heads]).repeat_interleave(HEAD_SIZE)
    for layer in model.model.layers:
        attention = cast("LlamaAttention", layer.self_attn)
        attention.v_proj.weight.copy_(value_VD)
        attention.o_proj.weight.copy_((value_VD * strength_V[:, None]).T)
        attention.q_proj.weight.mul_(_QUERY_GAIN)
        cast("LlamaMLP", layer.mlp).down_proj.weight.zero_()


def place_tokens(tokenizer: Tokenizer, form: str) -> list[int]:
    """The one token of each place, written as `form` says."""
    return [token_ids(tokenizer, form.format(place))[0] for place in range(NUM_PLACES)]


def save_model(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model in Hugging Face format, weights rounded to bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    model.bfloat16().save_pretrained(str(folder))
    save_tokenizer(tokenizer, folder)
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text())
    # transformers 4 reads these names, version 5 writes others; both are understood by both.
    config["torch_dtype"] = "bfloat16"
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
