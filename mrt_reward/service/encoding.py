"""From a trace to what the prover sees: one prompt with thinking opened, then the thinking's tokens.

A trace is tokenized once; every prefix is a slice of these ids. The prompt and the delimiters are trusted; the thinking
is the policy's, so its text never becomes control tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.episodes import Thinking, find_thinking
from mrt_reward.errors import NO_THINKING, ConfigError, ContextLengthError, TraceError
from mrt_reward.options import Delimiters
from mrt_reward.protocols import TokenizedText, Tokenizer
from mrt_reward.service.prompting import check_ids, foreign_ids, open_prompt, prompt_ids_of
from mrt_reward.text.edges import BYTE_ORDER_MARK, end_without_ends, unfolded_ends
from mrt_reward.text.turns import tail_of
from mrt_reward.types import TokenIds, Trace


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
        warnings: what the caller should look at in this trace.
        notes: what was found and dealt with, and is the template's affair.
        delimited: False where the whole completion is thinking (delimiters set to '').

    """

    completion: str
    thinking: Thinking
    context: TokenIds
    thinking_ids: TokenIds
    char_ends: TokenIds
    token_offset: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    delimited: bool = True

    @property
    def finished(self) -> Finished:
        """What the trace came to."""
        if self.delimited and not self.thinking.closed:
            return Finished(self.completion[self.thinking.start : self.thinking.end], cut_off=True)
        start = self.thinking.answer_start if self.delimited else 0
        return Finished(self.completion[start : end_without_ends(self.completion, start)])

    @property
    def truncated(self) -> bool:
        """Whether it was cut off while thinking."""
        return self.finished.cut_off

    @property
    def answer_text(self) -> str:
        """Where the final answer stands: after the thinking, or anywhere in a trace without delimiters."""
        return self.finished.text


@dataclass(frozen=True, slots=True)
class Finished:
    """What a trace came to.

    Attributes:
        text: where its answer stands; of a trace that was cut off while thinking, what it thought.
        cut_off: whether it was.

    """

    text: str
    cut_off: bool = False


def encode_trace(trace: Trace, tokenizer: Tokenizer, delimiters: Delimiters) -> Encoded:
    """Tokenize a trace, once.

    Raises:
        TraceError: no prompt or completion; ids of another tokenizer without text; no thinking to score.

    """
    prompt = open_prompt(trace, tokenizer, delimiters)
    warnings: list[str] = []
    completion, ids = _completion(trace, tokenizer, warnings)
    thinking = _thinking(completion, tokenizer, delimiters, opened=prompt.opened)
    if thinking is None:
        raise TraceError(
            f"completion has no thinking: expected {delimiters.open!r} or {delimiters.close!r} in it, or a prompt that "
            "ends with thinking opened; set options.delimiters to the model's own, or both to '' if all is thinking",
            code=NO_THINKING,
            param="completion",
        )
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
        prompt.ids,
        tokens.ids,
        tokens.char_ends,
        token_offset,
        warnings=tuple(warnings),
        notes=prompt.notes,
        delimited=_delimited(delimiters),
    )


def finished_of(trace: Trace, tokenizer: Tokenizer, delimiters: Delimiters) -> Finished | None:
    """What a trace came to that cannot be encoded; None where that cannot be known.

    It cannot where the text is not known (ids of another tokenizer alone), nor where the completion holds no delimiter
    and the prompt is not known, so that it may be an answer or thinking that was cut off.
    """
    try:
        completion, _ = _completion(trace, tokenizer, [])
    except TraceError:
        return None
    try:
        opened = open_prompt(trace, tokenizer, delimiters).opened
    except (TraceError, ConfigError):
        opened = None
    thinking = _thinking(completion, tokenizer, delimiters, opened=bool(opened))
    if thinking is None:
        return None if opened is None else Finished(completion[: end_without_ends(completion)])
    empty = np.empty(0, np.int32)
    return Encoded(completion, thinking, empty, empty, empty, 0, (), delimited=_delimited(delimiters)).finished


def _delimited(delimiters: Delimiters) -> bool:
    return bool(delimiters.open or delimiters.close)


def _thinking(completion: str, tokenizer: Tokenizer, delimiters: Delimiters, *, opened: bool) -> Thinking | None:
    """Where the completion thinks: without its byte order mark, and what ends or pads it if it was cut off."""
    marked = completion.startswith(BYTE_ORDER_MARK)
    found = find_thinking(f" {completion[1:]}" if marked else completion, delimiters, opened=opened)
    if found is None:
        return None
    if marked and found.start == 0:
        found = replace(found, start=1)
    if not found.closed and _delimited(delimiters):
        words = frozenset(tokenizer.turn_words.values())
        found = replace(found, end=end_without_ends(completion, found.start, words))
    return found


def problem_text(trace: Trace, tokenizer: Tokenizer | None = None, delimiters: Delimiters | None = None) -> str:
    """What was asked, for graders that read it: the problem, the last user turn, or the prompt up to its thinking.

    Empty where only ids are known, and no tokenizer that made them.
    """
    if trace.problem is not None:
        return trace.problem
    if trace.messages is not None:
        return next((turn.content for turn in reversed(trace.messages) if turn.role == "user"), "")
    delimiters = delimiters or Delimiters()
    known = trace.prompt_ids is not None and tokenizer is not None and trace.tokenizer == tokenizer.sha256
    if tokenizer is not None and (known or trace.prompt):
        try:
            return _asked(prompt_ids_of(trace, tokenizer), tokenizer, delimiters)
        except ContextLengthError:
            pass  # Its text is read as it stands.
    prompt = trace.prompt or ""
    return (delimiters.open and prompt.rpartition(delimiters.open)[0]) or prompt


def _asked(ids: TokenIds, tokenizer: Tokenizer, delimiters: Delimiters) -> str:
    """The text of a prompt up to its thinking."""
    tail = tail_of(ids, tokenizer.turn_words, tokenizer.locate, delimiters)
    # A row of prefixes has thoughts in its prompt, and an answer may well repeat those.
    asked = tail.text.rpartition(delimiters.open)[0] if delimiters.open else ""
    return tokenizer.locate(ids[: tail.first])[0] + (asked or tail.text)


def _completion(trace: Trace, tokenizer: Tokenizer, warnings: list[str]) -> tuple[str, TokenizedText | None]:
    """The text that spans refer to, and its tokens if the caller's are usable."""
    check_ids(trace.completion_ids, "completion_ids")
    if trace.completion_ids is None:
        if trace.completion is None:
            raise TraceError("expected completion or completion_ids, got neither", param="completion")
        return trace.completion, None
    if trace.tokenizer != tokenizer.sha256:
        if trace.completion is None:
            raise foreign_ids("completion_ids", "completion", trace, tokenizer)
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
    text = completion[thinking.start : thinking.end]
    # The prover reads line feeds alone; offsets stay those of the text as it was sent.
    tokens = tokenizer.encode_untrusted(text.replace("\r\n", "\n"))
    char_ends = unfolded_ends(text, tokens.char_ends) + np.int32(thinking.start)
    token_offset = 0
    if thinking.opened_by_text:
        opener = completion.rindex(delimiters.open, 0, thinking.start)
        token_offset = len(tokenizer.encode_untrusted(completion[:opener]).ids)
        token_offset += len(tokenizer.encode_trusted(completion[opener : thinking.start]))
    return TokenizedText(tokens.ids, char_ends), token_offset
