"""Prepares a trained network to look up printed paths, which from its own weights it did not begin to learn.

A path is printed as `12>5`, and a walk is written `From 12 to 5 to 40.`. Three heads are set by hand:

- In the first layer, one at the place where a path ends looks two tokens back, and notes where the path begins; another
  at ` to` looks one token back, and notes the place that stands there.
- In the second layer, one at ` to` looks for the path that begins at the noted place, and says where it ends.

What a place is, is read off the embeddings, where all places are orthogonal but for what they have in common. Training
goes on from there, and moves these heads as it moves all others.

Dimension key: V vocabulary, D channels of the residual stream, H channels of a head, N places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer

from mrt_reward.mini.network import HEAD_SIZE, ROPE_THETA, place_tokens
from mrt_reward.mini.tokenizer import token_ids

_BEGIN_HEAD, _CURRENT_HEAD, _PATH_HEAD = 3, 1, 3
_FAST_PAIRS = range(7)
"""Rotations fast enough to tell tokens from their neighbours."""
_SLOW_PAIRS = range(14, HEAD_SIZE // 2)
"""Rotations slow enough to compare what is hundreds of tokens apart."""
# With these, on the bundled mini, the first two look at the right token with a weight above 0.99, and the third with
# 0.6 to 0.8: other heads write over the notes until training has told them apart, which takes fifty steps.
_LOCAL_SCORE = 2.0
_MATCH_SCORE = 14.0
_NOTE_SIZE = {_BEGIN_HEAD: 8.0, _CURRENT_HEAD: 4.0}
"""Size of a note, in sizes of a place's own embedding."""
_SAID_SIZE = 3.0


@dataclass(frozen=True)
class _Axes:
    """Directions in the residual stream.

    Attributes:
        place_ND: one for each place.
        note_ND: as many more, orthogonal to those, for noting a place without saying it.
        path_end_D: what places have in common that are written without a space before them, as where paths end.
        place_word_D: what those with a space have in common.
        to_D: of ` to`, as far as it is no place.
        place_size: length of a place's embedding.

    """

    place_ND: Tensor
    note_ND: Tensor
    path_end_D: Tensor
    place_word_D: Tensor
    to_D: Tensor
    place_size: float


@torch.no_grad()
def prepare_for_lookups(model: LlamaForCausalLM, tokenizer: Tokenizer, seed: int = 0) -> None:
    """Set the three heads, in place; needs at least two layers of four heads."""
    axes = _axes(model, tokenizer, seed)
    _look_back(model, axes, _Glance(_BEGIN_HEAD, 2, axes.path_end_D, axes.note_ND))
    _look_back(model, axes, _Glance(_CURRENT_HEAD, 1, axes.to_D, axes.place_ND))
    _look_up(model, axes, seed)


def _axes(model: LlamaForCausalLM, tokenizer: Tokenizer, seed: int) -> _Axes:
    embedding_VD = model.model.embed_tokens.weight
    end_ND, word_ND = (embedding_VD[place_tokens(tokenizer, form)] for form in ("{}", " {}"))
    path_end_D, place_word_D = (_unit(each_ND.mean(0)) for each_ND in (end_ND, word_ND))
    place_ND = torch.stack([_unit(row) for row in word_ND - (word_ND @ place_word_D)[:, None] * place_word_D])
    generator = torch.Generator().manual_seed(seed)
    num_rest = place_ND.shape[1] - place_ND.shape[0]
    filled_DD = torch.cat([place_ND.T, torch.randn(place_ND.shape[1], num_rest, generator=generator)], 1)
    note_ND: Tensor = cast("Tensor", torch.linalg.qr(filled_DD)[0]).T[place_ND.shape[0] :]
    for common_D in (place_word_D, path_end_D):
        note_ND = note_ND - (note_ND @ common_D)[:, None] * common_D
    to_D: Tensor = embedding_VD[token_ids(tokenizer, " to")[0]]
    to_D = to_D - place_ND.T @ (place_ND @ to_D)
    to_D = _unit(to_D - (to_D @ place_word_D) * place_word_D)
    word_size = float(torch.stack([_size(row) for row in word_ND]).mean())
    return _Axes(place_ND, note_ND, path_end_D, place_word_D, to_D, word_size)


def _unit(vector_D: Tensor) -> Tensor:
    return vector_D / _size(vector_D)


def _size(vector_D: Tensor) -> Tensor:
    return (vector_D * vector_D).sum().sqrt()


def _rotated(offset: int, pairs: Sequence[int], size: float) -> Tensor:
    """A head's channels, `size` on each of some rotation pairs, turned by as much as `offset` tokens turn them."""
    channel_H = torch.zeros(HEAD_SIZE)
    for pair in pairs:
        angle = offset * ROPE_THETA ** (-2 * pair / HEAD_SIZE)
        channel_H[pair] = size * math.cos(angle)
        channel_H[pair + HEAD_SIZE // 2] = size * math.sin(angle)
    return channel_H


def _head(model: LlamaForCausalLM, layer: int, head: int) -> tuple[LlamaAttention, slice, Tensor]:
    """Attention of a layer, the rows of a head, and what the layer multiplies its input with."""
    block = cast("LlamaDecoderLayer", model.model.layers[layer])
    rows = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
    return block.self_attn, rows, block.input_layernorm.weight


@dataclass(frozen=True)
class _Glance:
    """A first-layer head that, where `asking_D` stands, copies the place `offset` tokens before into `written_ND`."""

    head: int
    offset: int
    asking_D: Tensor
    written_ND: Tensor


def _look_back(model: LlamaForCausalLM, axes: _Axes, glance: _Glance) -> None:
    attention, rows, gain_D = _head(model, 0, glance.head)
    root = math.sqrt(gain_D.numel())
    size = math.sqrt(_LOCAL_SCORE * math.sqrt(HEAD_SIZE))
    # A normalised embedding is `root` long, and a fifth of a place's square is on what places have in common.
    common = root * math.sqrt(0.2)
    asked_H, known_H = (_rotated(offset, _FAST_PAIRS, size) for offset in (-glance.offset, 0))
    attention.q_proj.weight[rows] = asked_H[:, None] * glance.asking_D / (common * gain_D)
    attention.k_proj.weight[rows] = known_H[:, None] * axes.place_word_D / (common * gain_D)
    attention.v_proj.weight[rows] = axes.place_ND / gain_D
    attention.o_proj.weight[:, rows] = glance.written_ND.T * (_NOTE_SIZE[glance.head] * axes.place_size / root)


def _look_up(model: LlamaForCausalLM, axes: _Axes, seed: int) -> None:
    """A second-layer head that finds the path whose beginning was noted and says where it ends."""
    attention, rows, gain_D = _head(model, 1, _PATH_HEAD)
    root = math.sqrt(gain_D.numel())
    channels = [*_SLOW_PAIRS, *(pair + HEAD_SIZE // 2 for pair in _SLOW_PAIRS)]
    num_places = axes.place_ND.shape[0]
    generator = torch.Generator().manual_seed(seed)
    mixed_NN = cast("Tensor", torch.linalg.qr(torch.randn(num_places, num_places, generator=generator))[0])
    compared_HN = torch.zeros(HEAD_SIZE, num_places)
    compared_HN[channels] = mixed_NN[: len(channels)] * math.sqrt(num_places / len(channels))
    size = math.sqrt(_MATCH_SCORE * math.sqrt(HEAD_SIZE)) / (0.5 * root)
    attention.q_proj.weight[rows] = compared_HN @ axes.place_ND * size / gain_D
    attention.k_proj.weight[rows] = compared_HN @ axes.note_ND * size / gain_D
    attention.v_proj.weight[rows] = axes.place_ND / gain_D
    attention.o_proj.weight[:, rows] = axes.place_ND.T * _SAID_SIZE
