"""A policy's response as text, without re-encoding: which characters each of its tokens completes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer as Backend

from mrt_reward.core.prefixes import token_spans
from mrt_reward.errors import ConfigError
from mrt_reward.options import Delimiters
from mrt_reward.text.byte_text import locate_bytes, locate_unprefixed
from mrt_reward.text.token_bytes import TokenBytes, adds_prefix_space
from mrt_reward.text.turns import ending, tail_of, turn_words
from mrt_reward.training.responses import Response
from mrt_reward.types import Span, TokenIds


class PolicyTokens:
    """Reads token ids of a policy.

    Args:
        source: its tokenizer.json.

    """

    def __init__(self, source: str) -> None:
        spec = cast("dict[str, Any]", json.loads(source))
        self._bytes = TokenBytes(Backend.from_str(source), spec)
        self._locate = locate_unprefixed if adds_prefix_space(spec) else locate_bytes
        self.turn_words = turn_words(spec)
        self.sha256 = hashlib.sha256(source.encode()).hexdigest()

    @classmethod
    def of(cls, tokenizer: Any, folder: str | Path | None = None) -> PolicyTokens:  # noqa: ANN401 - of transformers
        """Of a tokenizer of transformers; `folder` is where its model was loaded from.

        Raises:
            ConfigError: it has no tokenizer.json.

        """
        file = None if folder is None else Path(folder) / "tokenizer.json"
        if file is not None and file.is_file():
            return cls(file.read_bytes().decode())
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ConfigError(
                "the policy's tokenizer has no tokenizer.json, which is needed to find episodes in its tokens: save a "
                "fast tokenizer beside the model (AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained)",
            )
        return cls(cast("str", backend.to_str()))

    def locate(self, ids: Sequence[int] | TokenIds) -> tuple[str, TokenIds]:
        """Text of the ids, control tokens written out, and how many characters are complete after each."""
        return self._locate([self._bytes[int(token)] for token in ids])

    def without_end(self, ids: Sequence[int]) -> Sequence[int]:
        """A response's ids without the tokens behind it that end or pad a turn."""
        end = len(ids)
        while end and int(ids[end - 1]) in self.turn_words:
            end -= 1
        return ids[:end]


def opens_thinking(prompt_ids: Sequence[int], tokens: PolicyTokens, delimiters: Delimiters) -> bool:
    """Whether a prompt ends with thinking opened in its last turn; see `text.turns`."""
    if not delimiters.open:
        return False
    return ending(tail_of(prompt_ids, tokens.turn_words, tokens.locate, delimiters), delimiters).opened


def answer_start(response: Response, tokens: PolicyTokens, delimiters: Delimiters) -> int:
    """First token of the answer: of the closing delimiter, 0 where the prompt had closed thinking, T without one."""
    text, char_ends = tokens.locate(response.response_ids)
    close = text.find(delimiters.close) if delimiters.close else -1
    if close >= 0:
        return token_spans([Span(0, close)], char_ends)[0].end
    thinks = bool(delimiters.open and delimiters.open in text)
    thinks = thinks or opens_thinking(response.prompt_ids, tokens, delimiters)
    return len(response.response_ids) if thinks else 0
