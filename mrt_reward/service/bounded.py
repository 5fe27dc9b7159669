"""A tokenizer that refuses what cannot fit before it has read much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrt_reward.errors import ContextLengthError
from mrt_reward.protocols import TokenizedText, Tokenizer
from mrt_reward.types import Message, TokenIds

PIECE_CHARS = 32_768
"""A text that may be too long is counted in pieces of this length."""

SPARE_TOKENS = 16
"""What cutting a text may add to its tokens, a piece."""

IDS_TO_LOCATE = 4
"""Ids are read in multiples of the longest context, because what follows the thinking need not fit into one."""

USUAL_CHARS = 4
"""Characters a token at most, in a text that is taken without counting."""


class BoundedTokenizer:
    """Another tokenizer, for texts of at most `max_tokens` tokens; the work on a longer one ends soon after these.

    Args:
        inner: does the work.
        max_tokens: of one text.

    """

    def __init__(self, inner: Tokenizer, max_tokens: int) -> None:
        self._inner = inner
        self._max_tokens = max_tokens

    @property
    def sha256(self) -> str:
        """The inner one's."""
        return self._inner.sha256

    @property
    def control_ids(self) -> frozenset[int]:
        """The inner one's."""
        return self._inner.control_ids

    @property
    def turn_words(self) -> Mapping[int, str]:
        """The inner one's."""
        return self._inner.turn_words

    @property
    def bos_id(self) -> int | None:
        """The inner one's."""
        return self._inner.bos_id

    @property
    def close_ids(self) -> tuple[int, ...]:
        """The inner one's."""
        return self._inner.close_ids

    def encode_trusted(self, text: str) -> TokenIds:
        """Our own text; raises `ContextLengthError` where it is too long, as the others do."""
        self._refuse_long([text], "prompt")
        return self._inner.encode_trusted(text)

    def encode_untrusted(self, text: str) -> TokenizedText:
        """As the inner tokenizer does, for text that is not too long."""
        self._refuse_long([text], "completion")
        return self._inner.encode_untrusted(text)

    def locate(self, ids: TokenIds) -> tuple[str, TokenIds]:
        """Text of ids, and where their characters end; of fewer than `IDS_TO_LOCATE` contexts, answers included."""
        if len(ids) > IDS_TO_LOCATE * self._max_tokens:
            raise ContextLengthError(
                f"{len(ids)} token ids are over {IDS_TO_LOCATE} times the {self._max_tokens} tokens that the prover "
                "takes at most: shorten them"
            )
        return self._inner.locate(ids)

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The chat template's text."""
        return self._inner.render_chat(messages)

    def encode_chat(self, messages: Sequence[Message]) -> TokenIds:
        """Ids of a chat."""
        self._refuse_long([turn.content for turn in messages], "messages")
        return self._inner.encode_chat(messages)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled ids."""
        return self._inner.decode(ids)

    def _refuse_long(self, texts: Sequence[str], param: str) -> None:
        """Refuse texts that are too long together."""
        num_chars = sum(map(len, texts))
        if num_chars <= USUAL_CHARS * self._max_tokens:
            return
        num_read = num_tokens = 0
        for text in texts:
            for start in range(0, len(text), PIECE_CHARS):
                piece = text[start : start + PIECE_CHARS]
                num_read += len(piece)
                num_tokens += max(0, len(self._inner.encode_untrusted(piece).ids) - SPARE_TOKENS)
                if num_tokens > self._max_tokens:
                    raise ContextLengthError(
                        f"{param}: its first {num_read} of {num_chars} characters are already over {self._max_tokens} "
                        "tokens, which the prover takes at most: shorten it",
                        param=param,
                    )
