"""Fine-tunes a bundled model on chats, such as those that `mrt-reward star` keeps.

The loss is on the assistant's turn alone. Embeddings stay as they are: a few hundred chats must not move what the
places mean.

Dimension key: B rows, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from mrt_reward.errors import ConfigError
from mrt_reward.mini import template
from mrt_reward.mini.network import save_model
from mrt_reward.mini.policy import load_model
from mrt_reward.mini.tokenizer import token_ids

IGNORED = -100
"""Target of a token that is not trained."""


@dataclass(frozen=True)
class TuningSettings:
    """How a model is fine-tuned.

    Attributes:
        num_epochs: passes over the chats.
        batch_rows: chats per step.
        learning_rate: peak of Adam, after a tenth of the steps; then it falls to zero in a line.
        seed: of the order of the chats.
        num_threads: CPU threads of torch.

    """

    num_epochs: int = 3
    batch_rows: int = 32
    learning_rate: float = 3e-4
    seed: int = 0
    num_threads: int = 1


@dataclass(frozen=True)
class Chat:
    """One row of training: token ids, of which the first `num_prompt` are not trained."""

    ids: tuple[int, ...]
    num_prompt: int


def read_chats(path: Path, tokenizer: Tokenizer) -> list[Chat]:
    """Chats of a JSONL file whose rows have `messages`: optional system, user, assistant.

    Raises:
        ConfigError: there is none, or a row is something else; the message names the line.

    """
    chats: list[Chat] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            *asked, answered = cast("list[dict[str, str]]", json.loads(line)["messages"])
            system = asked[0]["content"] if len(asked) == 2 and asked[0]["role"] == "system" else None
            user, content = asked[-1]["content"], answered["content"]
            roles = (asked[-1]["role"], answered["role"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ConfigError(f"{path}, line {number}: expected `messages` of a user and an assistant") from error
        if roles != ("user", "assistant") or not content.startswith(f"{template.THINK_OPEN}\n"):
            raise ConfigError(
                f"{path}, line {number}: expected a user's turn, and an assistant's that starts with "
                f"{template.THINK_OPEN!r} and a line break; got {roles} and {content[:20]!r}"
            )
        prompt = token_ids(tokenizer, template.prompt_text(user, system))
        said = token_ids(tokenizer, content.removeprefix(f"{template.THINK_OPEN}\n") + template.TURN_CLOSE)
        chats.append(Chat((*prompt, *said), len(prompt)))
    if not chats:
        raise ConfigError(f"{path} has no chats to train on")
    return chats


def collate(chats: Sequence[Chat], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pad chats to the longest: `id_BT`, `mask_BT`, and `target_BT` with `IGNORED` where nothing is trained."""
    width = max(len(chat.ids) for chat in chats)
    id_BT = torch.full((len(chats), width), pad)
    target_BT = torch.full((len(chats), width), IGNORED)
    mask_BT = torch.zeros(len(chats), width, dtype=torch.long)
    for row, chat in enumerate(chats):
        size = len(chat.ids)
        id_BT[row, :size] = torch.tensor(chat.ids)
        mask_BT[row, :size] = 1
        target_BT[row, chat.num_prompt : size] = id_BT[row, chat.num_prompt : size]
    return id_BT, mask_BT, target_BT


def chat_loss(model: Any, id_BT: Tensor, mask_BT: Tensor, target_BT: Tensor) -> Tensor:  # noqa: ANN401 - transformers'
    """Mean cross-entropy of the assistant's tokens, in nats."""
    logits_BTV: Tensor = model(input_ids=id_BT, attention_mask=mask_BT, use_cache=False).logits
    return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), target_BT[:, 1:].flatten(), ignore_index=IGNORED)


def _batches(chats: Sequence[Chat], settings: TuningSettings) -> Iterator[list[Chat]]:
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.num_epochs):
        order = rng.permutation(len(chats)).tolist()
        for start in range(0, len(order), settings.batch_rows):
            yield [chats[place] for place in order[start : start + settings.batch_rows]]


def tune(
    base: Path,
    data: Path,
    folder: Path,
    settings: TuningSettings = TuningSettings(),
    progress: Callable[[int, int, float], None] | None = None,
) -> list[float]:
    """Fine-tune the model of `base` on the chats of `data`, and write it to `folder`.

    Args:
        base: a bundled model.
        data: JSONL of chats.
        folder: created where it is missing; files of the same names are replaced.
        settings: how.
        progress: called with (steps done, steps in all, loss) after each step.

    Returns:
        The loss of each step, in nats.

    Raises:
        ConfigError: the data cannot be read as chats.

    """
    torch.set_num_threads(settings.num_threads)
    model, tokenizer = load_model(base)
    chats = read_chats(data, tokenizer)
    pad = cast("int", tokenizer.token_to_id(template.PAD))
    num_steps = settings.num_epochs * -(-len(chats) // settings.batch_rows)
    model.model.embed_tokens.weight.requires_grad_(False)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, betas=(0.9, 0.98))
    warmup = max(1, num_steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (num_steps - step) / max(1, num_steps - warmup))
    )
    losses: list[float] = []
    model.train()
    for batch in _batches(chats, settings):
        current = chat_loss(model, *collate(batch, pad))
        optimizer.zero_grad()
        current.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(current.item())
        if progress is not None:
            progress(len(losses), num_steps, losses[-1])
    model.eval()
    save_model(model, tokenizer, folder)
    return losses
