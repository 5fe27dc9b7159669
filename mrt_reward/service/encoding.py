"""From a trace to what the prover sees: one prompt with thinking opened, then the thinking's tokens.

A trace is tokenized once; every prefix is a slice of these ids. The prompt and the delimiters are trusted; the thinking
is the policy's, so its text never becomes control tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from mrt_reward.core.episodes import Thinking, find_thinking
from mrt_reward.errors import TraceError
from mrt_reward.options import Delimiters
from mrt_reward.protocols import TokenizedText, Tokenizer
from mrt_reward.types import Message, TokenIds, Trace


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the prover sees of a trace.

    Attributes:
        completion: the text that character offsets refer to.
        thinking: where its thinking is.
        context: tokens up to and including the opened thinking: `z[:0]`.
        thinking_ids: the thinking's tokens.
        char_ends: for each of them, characters of `completion` that are complete once it is there.
        token_offset: number of the completion's tokens before the thinking.
        warnings: what was found and dealt with.
        delimited: False where the whole completion is thinking (delimiters set to '').

    """

    completion: str
    thinking: Thinking
    context: TokenIds
    thinking_ids: TokenIds
    char_ends: TokenIds
    token_offset: int
    warnings: tuple[str, ...]
    delimited: bool = True

    @property
    def truncated(self) -> bool:
        """Whether it was cut off while thinking."""
        return self.delimited and not self.thinking.closed

    @property
    def answer_text(self) -> str:
        """Where the final answer stands: after the thinking, or anywhere in a trace without delimiters."""
        return self.completion[self.thinking.answer_start :] if self.delimited else self.completion


def encode_trace(trace: Trace, tokenizer: Tokenizer, delimiters: Delimiters) -> Encoded:
    """Tokenize a trace, once.

    Raises:
        TraceError: no prompt or completion; ids of another tokenizer without text; no thinking to score.

    """
    warnings: list[str] = []
    prompt_ids, opened = _open_prompt(prompt_ids_of(trace, tokenizer), tokenizer, delimiters, warnings)
    completion, ids = _completion(trace, tokenizer, warnings)
    thinking = find_thinking(completion, delimiters, opened=opened)
    if thinking is None:
        raise TraceError(
            f"completion has no thinking: expected {delimiters.open!r} or {delimiters.close!r} in it, or a prompt that "
            "ends with thinking opened; set options.delimiters to the model's own, or both to '' if all is thinking",
            code="no_thinking",
            param="completion",
        )
    if thinking.opened_by_text and opened:
        warnings.append("both the prompt and the completion open thinking; the prover sees it opened once")
    located = ids and _slice_ids(ids, completion, thinking, tokenizer)
    if located:
        thinking, tokens, token_offset = located
    else:
        if ids is not None:
            warnings.append("completion_ids hold control tokens or do not split at the delimiters: text was tokenized")
        tokens, token_offset = _tokenize(completion, thinking, tokenizer, delimiters)
    return Encoded(
        completion,
        thinking,
        prompt_ids,
        tokens.ids,
        tokens.char_ends,
        token_offset,
        warnings=tuple(warnings),
        delimited=bool(delimiters.open or delimiters.close),
    )


def problem_text(trace: Trace, tokenizer: Tokenizer | None = None) -> str:
    """What was asked, for graders that read it: the problem, the last user turn, or the prompt up to its thinking.

    Empty where only ids are known, and no tokenizer that made them.
    """
    if trace.problem is not None:
        return trace.problem
    if trace.messages is not None:
        return next((turn.content for turn in reversed(trace.messages) if turn.role == "user"), "")
    prompt = trace.prompt or ""
    if trace.prompt is None and trace.prompt_ids is not None and tokenizer and trace.tokenizer == tokenizer.sha256:
        prompt = _text(tokenizer, trace.prompt_ids)
    # A row of prefixes has thoughts in its prompt, and an answer may well repeat those.
    return prompt.rpartition(Delimiters().open)[0] or prompt


def prompt_ids_of(trace: Trace, tokenizer: Tokenizer) -> TokenIds:
    """The prompt's tokens, as the caller sent them or as the chat template writes them.

    Raises:
        TraceError: there is no prompt, or only ids of another tokenizer.

    """
    _check_ids(trace.prompt_ids, "prompt_ids")
    if trace.prompt_ids is not None and trace.tokenizer == tokenizer.sha256:
        return trace.prompt_ids
    if trace.prompt is not None:
        return tokenizer.encode_trusted(trace.prompt)
    if trace.messages is not None:
        return tokenizer.encode_chat(trace.messages)
    if trace.problem is not None:
        return tokenizer.encode_chat([Message("user", trace.problem)])
    if trace.prompt_ids is not None:
        raise _foreign_ids("prompt_ids", "problem, messages or prompt", trace, tokenizer)
    raise TraceError("expected one of problem, messages, prompt and prompt_ids, got none", param="problem")


def _check_ids(ids: TokenIds | None, field: str) -> None:
    if ids is not None and len(ids) and ids.min() < 0:
        raise TraceError(f"{field}: token ids must be at least 0, got {ids.min()}", param=field)


def _foreign_ids(field: str, instead: str, trace: Trace, tokenizer: Tokenizer) -> TraceError:
    return TraceError(
        f"{field} were made by tokenizer {trace.tokenizer!r}, the prover's is {tokenizer.sha256!r} "
        f"(sha256 of tokenizer.json): send {instead} instead",
        code="tokenizer_mismatch",
        param=field,
    )


def _open_prompt(
    ids: TokenIds, tokenizer: Tokenizer, delimiters: Delimiters, warnings: list[str]
) -> tuple[TokenIds, bool]:
    """Leave exactly one thinking block open at the end; also whether the prompt had opened it itself."""
    if not delimiters.open:
        return ids, False
    opener, closer = tokenizer.encode_trusted(delimiters.open), tokenizer.encode_trusted(delimiters.close)
    open_at, close_at = _last_index(ids, opener), _last_index(ids, closer)
    if open_at > close_at:
        return ids, True
    if open_at >= 0:
        inside, after = ids[open_at + len(opener) : close_at], ids[close_at + len(closer) :]
        if not set(after.tolist()) & tokenizer.control_ids and not _text(tokenizer, inside) + _text(tokenizer, after):
            warnings.append("the chat template inserts an empty thinking block; it was removed")
            ids = ids[:open_at]
    return np.concatenate([ids, tokenizer.encode_trusted(delimiters.open + "\n")]), False


def _text(tokenizer: Tokenizer, ids: TokenIds) -> str:
    return tokenizer.decode(cast("list[int]", ids.tolist())).strip()


def _last_index(ids: TokenIds, needle: TokenIds) -> int:
    """Where `needle` last starts in `ids`; -1 if nowhere."""
    if len(needle) == 0 or len(ids) < len(needle):
        return -1
    windows = np.lib.stride_tricks.sliding_window_view(ids, len(needle))
    hits = np.flatnonzero((windows == needle).all(axis=1))
    return int(hits[-1]) if len(hits) else -1


def _completion(trace: Trace, tokenizer: Tokenizer, warnings: list[str]) -> tuple[str, TokenizedText | None]:
    """The text that spans refer to, and its tokens if the caller's are usable."""
    _check_ids(trace.completion_ids, "completion_ids")
    if trace.completion_ids is None:
        if trace.completion is None:
            raise TraceError("expected completion or completion_ids, got neither", param="completion")
        return trace.completion, None
    if trace.tokenizer != tokenizer.sha256:
        if trace.completion is None:
            raise _foreign_ids("completion_ids", "completion", trace, tokenizer)
        return trace.completion, None
    text, char_ends = tokenizer.locate(trace.completion_ids)
    if trace.completion is not None and trace.completion != text:
        if not text.startswith(trace.completion):
            warnings.append("completion_ids do not spell completion: the text was tokenized")
            return trace.completion, None
        # Trailing end-of-turn and padding tokens are usually stripped from the text, and matter to nobody.
        kept = int(np.searchsorted(char_ends, len(trace.completion), side="right"))
        return trace.completion, TokenizedText(trace.completion_ids[:kept], char_ends[:kept])
    return text, TokenizedText(trace.completion_ids, char_ends)


def _slice_ids(
    tokens: TokenizedText, completion: str, thinking: Thinking, tokenizer: Tokenizer
) -> tuple[Thinking, TokenizedText, int] | None:
    """The thinking's own ids, as the policy made them; None where they cannot be used as they are."""
    starts = np.concatenate([np.zeros(1, np.int32), tokens.char_ends])
    if thinking.opened_by_text and thinking.start not in starts and completion[thinking.start - 1] == "\n":
        # The line break after the delimiter is part of a longer token: leave it with the thinking.
        thinking = replace(thinking, start=thinking.start - 1 - completion.endswith("\r\n", 0, thinking.start))
    first = int(np.searchsorted(starts, thinking.start, side="left"))
    last = int(np.searchsorted(starts, thinking.end, side="right")) - 1
    if first > last or starts[first] != thinking.start or starts[last] != thinking.end:
        return None
    ids = tokens.ids[first:last]
    if set(ids.tolist()) & tokenizer.control_ids:
        return None
    return thinking, TokenizedText(ids, tokens.char_ends[first:last]), first


def _tokenize(
    completion: str, thinking: Thinking, tokenizer: Tokenizer, delimiters: Delimiters
) -> tuple[TokenizedText, int]:
    tokens = tokenizer.encode_untrusted(completion[thinking.start : thinking.end])
    token_offset = 0
    if thinking.opened_by_text:
        opener = completion.rindex(delimiters.open, 0, thinking.start)
        token_offset = len(tokenizer.encode_untrusted(completion[:opener]).ids)
        token_offset += len(tokenizer.encode_trusted(completion[opener : thinking.start]))
    return TokenizedText(tokens.ids, tokens.char_ends + np.int32(thinking.start)), token_offset
