"""A trace's prompt as tokens, with exactly one thinking block open at its end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.errors import TraceError
from mrt_reward.options import Delimiters
from mrt_reward.protocols import Tokenizer
from mrt_reward.text.edges import ids_without_padding, plain
from mrt_reward.text.turns import ending, tail_of
from mrt_reward.types import Message, TokenIds, Trace

EMPTY_BLOCK = "the prompt ends with an empty thinking block, as templates of no-think modes write it; it was removed"
BARE_CLOSE = "the prompt ends with a closing delimiter that closes nothing (a no-think mode); it was removed"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the prover sees it.

    Attributes:
        ids: up to and including the opened thinking: `z[:0]`.
        opened: whether the prompt had opened thinking itself.
        notes: what was found and dealt with, which is the template's affair and so the same for all its traces.

    """

    ids: TokenIds
    opened: bool
    notes: tuple[str, ...] = ()


def prompt_ids_of(trace: Trace, tokenizer: Tokenizer) -> TokenIds:
    """The prompt's tokens, as the caller sent them or as the chat template writes them.

    Padding on the left is left out. In text, a byte order mark is left out too, and CRLF is a line feed.

    Raises:
        TraceError: there is no prompt, or only ids of another tokenizer.

    """
    check_ids(trace.prompt_ids, "prompt_ids")
    if trace.prompt_ids is not None and trace.tokenizer == tokenizer.sha256:
        return ids_without_padding(trace.prompt_ids, tokenizer.turn_words, tokenizer.bos_id)
    if trace.prompt is not None:
        ids = tokenizer.encode_trusted(plain(trace.prompt))
        return ids_without_padding(ids, tokenizer.turn_words, tokenizer.bos_id)
    if trace.messages is not None:
        return tokenizer.encode_chat([replace(turn, content=plain(turn.content)) for turn in trace.messages])
    if trace.problem is not None:
        return tokenizer.encode_chat([Message("user", plain(trace.problem))])
    if trace.prompt_ids is not None:
        raise foreign_ids("prompt_ids", "problem, messages or prompt", trace, tokenizer)
    raise TraceError("expected one of problem, messages, prompt and prompt_ids, got none", param="problem")


def check_ids(ids: TokenIds | None, field: str) -> None:
    """Refuse ids that no tokenizer has.

    Raises:
        TraceError: one is negative.

    """
    if ids is not None and len(ids) and ids.min() < 0:
        raise TraceError(f"{field}: token ids must be at least 0, got {ids.min()}", param=field)


def foreign_ids(field: str, instead: str, trace: Trace, tokenizer: Tokenizer) -> TraceError:
    """The error for a caller who sent ids that the prover cannot read."""
    return TraceError(
        f"{field} were made by tokenizer {trace.tokenizer!r}, the prover's is {tokenizer.sha256!r} "
        f"(sha256 of tokenizer.json): send {instead} instead",
        code="tokenizer_mismatch",
        param=field,
    )


def open_prompt(trace: Trace, tokenizer: Tokenizer, delimiters: Delimiters) -> Prompt:
    """The prompt with thinking opened at its end, as its template opened it or as `<think>` and a line break.

    Raises:
        TraceError: as `prompt_ids_of`.

    """
    ids = prompt_ids_of(trace, tokenizer)
    if not delimiters.open:
        return Prompt(ids, opened=False)
    tail = tail_of(ids, tokenizer.turn_words, tokenizer.locate, delimiters)
    found = ending(tail, delimiters)
    if found.opened:
        return Prompt(ids, opened=True)
    cut, notes = found.empty_block, (EMPTY_BLOCK,)
    if cut is None:
        cut, notes = found.bare_close, (BARE_CLOSE,)
    if cut is None:
        cut, notes = len(tail.text), ()
    # A cut within a token leaves that token's beginning, as tokens of its own.
    num_kept = int(np.searchsorted(tail.char_ends, cut, side="right"))
    whole = int(tail.char_ends[num_kept - 1]) if num_kept else 0
    opener = tokenizer.encode_trusted(tail.text[whole:cut] + delimiters.open + "\n")
    return Prompt(np.concatenate([ids[: tail.first + num_kept], opener]), opened=False, notes=notes)
