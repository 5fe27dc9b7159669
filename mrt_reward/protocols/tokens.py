"""What the service needs from a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mrt_reward.types import Message, TokenIds


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Untrusted text as token ids.

    Attributes:
        ids: token ids, int32.
        char_ends: for each token, the number of characters of the text that are complete once it is there; not
            decreasing, and the last equals the text's length. A character of several tokens is complete at its last.

    """

    ids: TokenIds
    char_ends: TokenIds


class Tokenizer(Protocol):
    """The prover's tokenizer. Trusted text may become control tokens, untrusted text never does."""

    @property
    def sha256(self) -> str:
        """Of tokenizer.json, as lower-case hex: equal hashes mean equal ids."""
        ...

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that stand for something other than their text: special and added tokens."""
        ...

    @property
    def turn_words(self) -> Mapping[int, str]:
        """Control tokens that part turns or texts, by id: all but the tags that a turn may hold."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text; None if there is none."""
        ...

    @property
    def close_ids(self) -> tuple[int, ...]:
        """Every ordinary token whose text begins with `}`."""
        ...

    def encode_trusted(self, text: str) -> TokenIds:
        """Our own text; control tokens in it are meant. No BOS or EOS is added."""
        ...

    def encode_untrusted(self, text: str) -> TokenizedText:
        """Model output or other people's text; anything that looks like a control token stays text."""
        ...

    def locate(self, ids: TokenIds) -> tuple[str, TokenIds]:
        """Text of ids that somebody else made, control tokens written out, and its `char_ends` (`TokenizedText`)."""
        ...

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The chat template's text, up to where the assistant speaks. Message contents are not control-safe in it."""
        ...

    def encode_chat(self, messages: Sequence[Message]) -> TokenIds:
        """Ids of `render_chat`'s text, with the messages' contents encoded as untrusted."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled ids, without special tokens."""
        ...
