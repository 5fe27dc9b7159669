"""Trains the bundled model from a seed, on text that is written as it goes.

Dimension key: B rows, T tokens, L trained positions of all rows, C next tokens of a position.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import RopeParameters
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP

from mrt_reward.mini import template
from mrt_reward.mini.batch import Batch, collate
from mrt_reward.mini.island import NUM_PLACES, sample_problem
from mrt_reward.mini.packing import PackingRule, Row, pack_trace
from mrt_reward.mini.tokenizer import MAX_POSITIONS, VOCAB_SIZE, save_tokenizer, token_ids, train_tokenizer
from mrt_reward.mini.writer import BASE_SLOPPINESS, Sloppiness, write_thinking

HEAD_SIZE = 64
_POOL_BATCHES = 16
_PLACE_FORMS = ("{}", " {}")
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
class Stage:
    """One part of the training.

    Attributes:
        num_steps: optimizer steps.
        batch_rows: traces per step.
        packing: how text becomes rows.

    """

    num_steps: int
    batch_rows: int
    packing: PackingRule


STAGES = (
    # What is hard is to copy places from the question. It is learned first, where next to nothing else is to learn.
    Stage(150, 48, PackingRule(max_thinking_tokens=8, num_random_cuts=1)),
    Stage(900, 24, PackingRule(max_thinking_tokens=128, num_random_cuts=1)),
    Stage(1550, 16, PackingRule()),
)


@dataclass(frozen=True)
class TrainingSettings:
    """How the bundled model is trained.

    Attributes:
        seed: of the weights and of the text.
        stages: one after the other.
        learning_rate: peak of Adam, after 2 % of warm-up; then it falls to zero as the square of the steps left.
        num_layers: of the transformer.
        num_heads: of 64 channels each; more than the width asks for, because the task is one of looking up.
        mlp_size: hidden channels of a feed-forward block.
        sloppiness: of the text.
        num_threads: CPU threads of torch; the weights depend on it in their last bits.

    """

    seed: int = 0
    stages: tuple[Stage, ...] = STAGES
    learning_rate: float = 2e-3
    num_layers: int = 4
    num_heads: int = 4
    mlp_size: int = 384
    sloppiness: Sloppiness = BASE_SLOPPINESS
    num_threads: int = 2

    @property
    def num_steps(self) -> int:
        """Of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def scaled(self, num_steps: int) -> TrainingSettings:
        """The same stages in the same proportions, with `num_steps` steps in all."""
        ends = [0, *itertools.accumulate(stage.num_steps for stage in self.stages)]
        cuts = [round(end * num_steps / self.num_steps) for end in ends]
        stages = [
            replace(stage, num_steps=end - start)
            for stage, (start, end) in zip(self.stages, pairwise(cuts), strict=True)
        ]
        return replace(self, stages=tuple(stages))


def batches(tokenizer: Tokenizer, settings: TrainingSettings) -> Iterator[Batch]:
    """Write the training text of all stages; rows of similar length share a batch."""
    rng = np.random.default_rng(settings.seed)
    for stage in settings.stages:
        for first in range(0, stage.num_steps, _POOL_BATCHES):
            num_batches = min(_POOL_BATCHES, stage.num_steps - first)
            rows: list[Row] = []
            for _ in range(num_batches * stage.batch_rows):
                problem = sample_problem(rng)
                writing = write_thinking(problem, settings.sloppiness, rng)
                rows.append(pack_trace(tokenizer, problem, writing, rng, stage.packing))
            rows.sort(key=lambda row: row.id_T.size)
            for index in rng.permutation(num_batches):
                yield collate(rows[int(index) * stage.batch_rows :][: stage.batch_rows])


def new_model(settings: TrainingSettings, tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A Llama model with fresh weights."""
    torch.manual_seed(settings.seed)
    end, pad = tokenizer.token_to_id(template.TURN_CLOSE), tokenizer.token_to_id(template.PAD)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=_WIDTH,
        head_dim=HEAD_SIZE,
        intermediate_size=settings.mlp_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        max_position_embeddings=MAX_POSITIONS,
        # Slow rotations leave most channels of a head to compare what is far apart.
        rope_parameters=cast("RopeParameters", {"rope_type": "default", "rope_theta": 1e6}),
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
    for number, form in enumerate(_PLACE_FORMS):
        for place, token in enumerate(_place_tokens(tokenizer, form)):
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


def _place_tokens(tokenizer: Tokenizer, form: str) -> list[int]:
    """The one token of each place, written as `form` says."""
    return [token_ids(tokenizer, form.format(place))[0] for place in range(NUM_PLACES)]


def loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Cross-entropy against the target distributions, a weighted mean over trained positions; in nats."""
    hidden_BTD = model.model(
        input_ids=cast("torch.LongTensor", batch.id_BT),
        attention_mask=batch.visible_B1TT,
        position_ids=cast("torch.LongTensor", batch.position_BT),
        use_cache=False,
    ).last_hidden_state
    # Logits only where they are trained: the vocabulary is the widest layer.
    logits_LV = model.lm_head(hidden_BTD.flatten(0, 1)[batch.at_L])
    log_prob_LC = functional.log_softmax(logits_LV, dim=-1).gather(1, batch.target_LC)
    return -(log_prob_LC * batch.weight_LC).sum() / batch.weight_LC.sum()


def _rate(step: int, settings: TrainingSettings) -> float:
    """Share of the peak learning rate at `step`."""
    warmup = max(1, settings.num_steps // 50)
    left = 1.0 - (step - warmup) / max(1, settings.num_steps - warmup)
    return (step + 1) / warmup if step < warmup else left**2


def fit(model: LlamaForCausalLM, tokenizer: Tokenizer, settings: TrainingSettings, progress: Progress) -> list[float]:
    """Train `model` in place.

    Returns:
        The loss of each step, in nats.

    """
    embedding = model.model.embed_tokens.weight
    others = [weight for weight in model.parameters() if weight is not embedding]
    fixed_tokens = torch.tensor([token for form in _PLACE_FORMS for token in _place_tokens(tokenizer, form)])

    def without_places(gradient: Tensor) -> Tensor:
        return gradient.index_fill(0, fixed_tokens, 0.0)

    # Places stay as they are: what is learned about one has to hold for all.
    embedding.register_hook(without_places)
    optimizer = torch.optim.Adam(
        [
            {"params": others, "lr": settings.learning_rate},
            # A row that is rarely used takes a whole step whenever it is, which would blur what it stands for.
            {"params": [embedding], "lr": 0.2 * settings.learning_rate},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    task = progress.add_task("training", total=settings.num_steps, loss=math.nan)
    losses: list[float] = []
    model.train()
    for batch in batches(tokenizer, settings):
        current = loss(model, batch)
        optimizer.zero_grad()
        current.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(current.item())
        progress.update(task, advance=1, loss=losses[-1])
    model.eval()
    return losses


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


def train(folder: Path, settings: TrainingSettings = TrainingSettings(), *, quiet: bool = False) -> list[float]:
    """Train tokenizer and model from the seed and write them to `folder`.

    Args:
        folder: created where it is missing; files of the same names are replaced.
        settings: what to train.
        quiet: whether to hide the progress bar.

    Returns:
        The loss of each step, in nats.

    """
    torch.set_num_threads(settings.num_threads)
    tokenizer = train_tokenizer(settings.seed)
    model = new_model(settings, tokenizer)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        losses = fit(model, tokenizer, settings, progress)
    save_model(model, tokenizer, folder)
    return losses
