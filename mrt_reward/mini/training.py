"""Trains the bundled model from a seed, on text that is written as it goes.

Dimension key: B rows, T tokens, L trained positions of all rows, C next tokens of a position.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.random import Generator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.batch import Batch, collate
from mrt_reward.mini.charts import MAX_CANDIDATES, MIN_CANDIDATES, sample_charted
from mrt_reward.mini.island import Problem, sample_problem
from mrt_reward.mini.lookups import prepare_for_lookups
from mrt_reward.mini.network import PLACE_FORMS, NetworkSize, new_model, place_tokens, save_model
from mrt_reward.mini.packing import PackingRule, TrainingRow, pack_trace
from mrt_reward.mini.policy import load_model
from mrt_reward.mini.tokenizer import train_tokenizer
from mrt_reward.mini.writer import BASE_SLOPPINESS, CHARTED_SLOPPINESS, Sloppiness, write_thinking

_POOL_BATCHES = 16
SAVE_STEPS = 20
_STATE_NAME = "training.pt"
_SIZE = NetworkSize()


@dataclass(frozen=True)
class Stage:
    """One part of the training.

    Attributes:
        num_steps: optimizer steps.
        batch_rows: traces per step.
        packing: how text becomes rows.
        sample: draws a problem.

    """

    num_steps: int
    batch_rows: int
    packing: PackingRule
    sample: Callable[[Generator], Problem] = sample_problem


STAGES = (
    # What is hard is to copy places from the question. It is learned first, where next to nothing else is to learn.
    Stage(150, 48, PackingRule(max_thinking_tokens=8, num_random_cuts=1)),
    Stage(900, 24, PackingRule(max_thinking_tokens=128, num_random_cuts=1)),
    Stage(1550, 16, PackingRule()),
)


def _charted(most: int) -> Callable[[Generator], Problem]:
    return partial(sample_charted, candidate_counts=tuple(range(MIN_CANDIDATES, most + 1)))


CHARTED_STAGES = (
    # To look up is learned first, on few places.
    Stage(160, 24, PackingRule(max_thinking_tokens=64, num_random_cuts=1), _charted(6)),
    Stage(480, 16, PackingRule(max_thinking_tokens=200, num_random_cuts=1, free_share=0.25), _charted(MAX_CANDIDATES)),
    Stage(560, 12, PackingRule(max_thinking_tokens=640, num_random_cuts=1, free_share=0.25), _charted(MAX_CANDIDATES)),
)


@dataclass(frozen=True)
class MiniTrainingSettings:
    """How the bundled model is trained.

    Attributes:
        seed: of the weights and of the text.
        stages: one after the other.
        learning_rate: peak of Adam, after 2 % of warm-up; then it falls to zero as the square of the steps left.
        size: of the network.
        start: model folder to start from, whose heads are prepared to look up; None is a fresh network.
        sloppiness: of the text.
        num_threads: CPU threads of torch; the weights depend on it in their last bits.

    """

    seed: int = 0
    stages: tuple[Stage, ...] = STAGES
    learning_rate: float = 2e-3
    size: NetworkSize = _SIZE
    start: Path | None = None
    sloppiness: Sloppiness = BASE_SLOPPINESS
    num_threads: int = 2

    @property
    def num_steps(self) -> int:
        """Of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def scaled(self, num_steps: int) -> MiniTrainingSettings:
        """The same stages in the same proportions, with `num_steps` steps in all."""
        ends = [0, *itertools.accumulate(stage.num_steps for stage in self.stages)]
        cuts = [round(end * num_steps / self.num_steps) for end in ends]
        stages = [
            replace(stage, num_steps=end - start)
            for stage, (start, end) in zip(self.stages, pairwise(cuts), strict=True)
        ]
        return replace(self, stages=tuple(stages))


MINI = MiniTrainingSettings()
MINI_DEEP = MiniTrainingSettings(
    stages=CHARTED_STAGES, learning_rate=1e-3, start=MODEL_DIR, sloppiness=CHARTED_SLOPPINESS
)
SETTINGS = {"mini": MINI, "mini-deep": MINI_DEEP}
"""By the name of the model."""


def batches(tokenizer: Tokenizer, settings: MiniTrainingSettings) -> Iterator[Batch]:
    """Write the training text of all stages; rows of similar length share a batch."""
    rng = np.random.default_rng(settings.seed)
    for stage in settings.stages:
        for first in range(0, stage.num_steps, _POOL_BATCHES):
            num_batches = min(_POOL_BATCHES, stage.num_steps - first)
            rows: list[TrainingRow] = []
            for _ in range(num_batches * stage.batch_rows):
                problem = stage.sample(rng)
                writing = write_thinking(problem, settings.sloppiness, rng)
                rows.append(pack_trace(tokenizer, problem, writing, rng, stage.packing))
            rows.sort(key=lambda row: row.id_T.size)
            for index in rng.permutation(num_batches):
                yield collate(rows[int(index) * stage.batch_rows :][: stage.batch_rows])


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


def _rate(step: int, settings: MiniTrainingSettings) -> float:
    """Share of the peak learning rate at `step`."""
    warmup = max(1, settings.num_steps // 50)
    left = 1.0 - (step - warmup) / max(1, settings.num_steps - warmup)
    return (step + 1) / warmup if step < warmup else left**2


def fit(
    model: LlamaForCausalLM, tokenizer: Tokenizer, settings: MiniTrainingSettings, progress: Progress, state: Path
) -> list[float]:
    """Train `model` in place.

    Args:
        model: what to train.
        tokenizer: its tokenizer.
        settings: how.
        progress: where the bar is shown.
        state: file that is written now and then, and gone on from where it is there; a kill loses little.

    Returns:
        The loss of each step, in nats.

    """
    embedding = model.model.embed_tokens.weight
    others = [weight for weight in model.parameters() if weight is not embedding]
    fixed_tokens = torch.tensor([token for form in PLACE_FORMS for token in place_tokens(tokenizer, form)])

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
    losses: list[float] = []
    if state.exists():
        saved = cast("dict[str, Any]", torch.load(state, weights_only=True))
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(saved[name])
        losses = saved["losses"]
    task = progress.add_task("training", total=settings.num_steps, completed=len(losses), loss=math.nan)
    model.train()
    for batch in islice(batches(tokenizer, settings), len(losses), None):
        current = loss(model, batch)
        optimizer.zero_grad()
        current.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(current.item())
        progress.update(task, advance=1, loss=losses[-1])
        if len(losses) % SAVE_STEPS == 0:
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**parts, "schedule": schedule.state_dict(), "losses": losses}, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    model.eval()
    return losses


def train(folder: Path, settings: MiniTrainingSettings = MiniTrainingSettings(), *, quiet: bool = False) -> list[float]:
    """Train tokenizer and model from the seed and write them to `folder`; goes on where a kill left it.

    Args:
        folder: created where it is missing; files of the same names are replaced.
        settings: what to train.
        quiet: whether to hide the progress bar.

    Returns:
        The loss of each step, in nats.

    """
    torch.set_num_threads(settings.num_threads)
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / _STATE_NAME
    if settings.start is None:
        tokenizer = train_tokenizer(settings.seed)
        model = new_model(settings.size, tokenizer, settings.seed)
    else:
        model, tokenizer = load_model(settings.start)
        prepare_for_lookups(model, tokenizer, settings.seed)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        losses = fit(model, tokenizer, settings, progress, state)
    save_model(model, tokenizer, folder)
    state.unlink(missing_ok=True)
    return losses
