"""A Hugging Face tokenizer that tells trusted text from untrusted text.

Nothing is prepended to a piece: no BOS, and none of the spaces that SentencePiece-like tokenizers put before a text, so
that pieces joined are the text joined.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer as Backend

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.protocols import TokenizedText
from mrt_reward.provers.chat import ChatTemplate
from mrt_reward.text.byte_text import locate_bytes, locate_unprefixed, refuse_surrogates
from mrt_reward.text.token_bytes import TokenBytes, adds_prefix_space, without_prefix_space
from mrt_reward.text.turns import turn_words
from mrt_reward.types import Message, TokenIds


class HFTokenizer:
    """The `Tokenizer` of a model folder.

    Two copies of it are held: one that knows the control tokens, for trusted text, and one that has never heard of
    them, for untrusted text.

    Args:
        path: a model folder, or a name on the hub.
        trust_remote_code: whether the model's own Python code may run.

    Raises:
        ConfigError: there is no fast tokenizer.

    """

    def __init__(self, path: str | Path, *, trust_remote_code: bool = False) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and needed by engines only

        try:
            loaded: Any = cast("Any", AutoTokenizer).from_pretrained(path, trust_remote_code=trust_remote_code)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConfigError(f"tokenizer of {str(path)!r} cannot be loaded: {error}", param="model") from error
        file = Path(path) / "tokenizer.json"
        if file.is_file():
            # transformers rebuilds some kinds from their vocabulary alone; the file is what the ids are made with.
            source = file.read_text(encoding="utf-8")
        elif getattr(loaded, "backend_tokenizer", None) is not None:
            source = cast("str", loaded.backend_tokenizer.to_str())
        else:
            raise ConfigError(f"{str(path)!r} has no tokenizer.json, which the prover needs", param="model")
        spec = cast("dict[str, Any]", json.loads(source))
        plain = without_prefix_space(spec)
        self._trusted = Backend.from_str(json.dumps(plain))
        self._untrusted = Backend.from_str(json.dumps({**plain, "added_tokens": []}))
        self._bytes = TokenBytes(self._trusted, spec)
        self._words = {str(added["content"]): int(added["id"]) for added in spec["added_tokens"]}
        self._special_ids = frozenset(int(added["id"]) for added in spec["added_tokens"] if added["special"])
        self._control_ids = frozenset(self._words.values())
        self._turn_words = turn_words(spec)
        ordinary = sorted(set(self._trusted.get_vocab().values()) - self._control_ids)
        self._close_ids = tuple(token for token in ordinary if self._bytes[token].startswith(b"}"))
        braces = ((token, re.sub(rb"[^{}]", b"", self._bytes[token]).decode()) for token in ordinary)
        self._braces = {token: text for token, text in braces if text}
        self._template = ChatTemplate(loaded)
        self._strips = adds_prefix_space(spec)
        self._sha256 = hashlib.sha256(file.read_bytes() if file.is_file() else source.encode()).hexdigest()
        self.end_id = self._trusted.token_to_id(str(loaded.eos_token))
        self.bos_id = None if loaded.bos_token is None else self._trusted.token_to_id(str(loaded.bos_token))

    @property
    def sha256(self) -> str:
        """Of tokenizer.json; of the tokenizer's own JSON where there is no such file."""
        return self._sha256

    @property
    def control_ids(self) -> frozenset[int]:
        """Special and added tokens."""
        return self._control_ids

    @property
    def turn_words(self) -> Mapping[int, str]:
        """Special tokens, and added ones that are no tags, by id."""
        return self._turn_words

    @property
    def close_ids(self) -> tuple[int, ...]:
        """Every ordinary token whose text begins with `}`."""
        return self._close_ids

    @property
    def braces(self) -> Mapping[int, str]:
        """The braces in each ordinary token that has any, in order."""
        return self._braces

    def encode_trusted(self, text: str) -> TokenIds:
        """Our own text, with its control tokens."""
        refuse_surrogates(text, "prompt")
        return np.array(self._trusted.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_untrusted(self, text: str) -> TokenizedText:
        """Text without control tokens, and where its characters end.

        A character that several tokens share is complete at the last of them; one that the tokenizer drops, at the next
        token that stands for something.

        Raises:
            TraceError: the text holds a lone surrogate, or cannot be written without a control token.

        """
        refuse_surrogates(text, "completion")
        tokens = self._encode_plainly(text)
        if not self._controls_in(tokens.ids):
            return tokens
        # The vocabulary itself holds control words, as in SentencePiece: keep their letters apart.
        pattern = "|".join(re.escape(word) for word in sorted(self._words, key=len, reverse=True))
        pieces: list[str] = []
        for index, piece in enumerate(re.split(f"({pattern})", text)):
            pieces += list(piece) if index % 2 else [piece]
        encoded = [self._encode_plainly(piece) for piece in pieces]
        offsets = np.cumsum([0, *map(len, pieces[:-1])], dtype=np.int32)
        ids = np.concatenate([tokens.ids for tokens in encoded])
        if self._controls_in(ids):
            raise TraceError(
                "completion holds text that this tokenizer can only write as a control token", param="completion"
            )
        return TokenizedText(ids, np.concatenate([t.char_ends + at for t, at in zip(encoded, offsets, strict=True)]))

    def locate(self, ids: TokenIds) -> tuple[str, TokenIds]:
        """Text with control tokens written out. A space that the tokenizer itself prepended is left out."""
        locate = locate_unprefixed if self._strips else locate_bytes
        return locate([self._bytes[token] for token in ids.tolist()])

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The chat template's text, with the generation prompt.

        Raises:
            ConfigError: the tokenizer has no chat template.
            TraceError: the template refuses the messages.

        """
        return self._template.render(messages)

    def encode_chat(self, messages: Sequence[Message]) -> TokenIds:
        """Template as trusted text, contents as untrusted text.

        A template that does more to a content than to trim it is followed if no content holds a control word.

        Raises:
            ConfigError: the tokenizer has no chat template.
            TraceError: the template refuses the messages, or contents that hold control words cannot be distinguished.

        """
        for turn in messages:
            if self._holds_word(turn.role):
                raise TraceError(f"role {turn.role!r} holds a control token", param="messages")
        parts = self._template.split(messages)
        if parts is not None:
            encoded = [
                self.encode_untrusted(part).ids if index % 2 else self.encode_trusted(part)
                for index, part in enumerate(parts)
            ]
            return np.concatenate(encoded)
        if any(self._holds_word(turn.content) for turn in messages):
            raise TraceError(
                "a message holds text that looks like a control token, and the chat template rewrites messages, so the "
                "two cannot be distinguished: remove it, or send `prompt`",
                param="messages",
            )
        return self.encode_trusted(self._template.render(messages))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens; bytes that are not UTF-8 are U+FFFD. Nothing is trimmed."""
        return b"".join(self._bytes[token] for token in ids if token not in self._special_ids).decode(errors="replace")

    def _holds_word(self, text: str) -> bool:
        return any(word in text for word in self._words)

    def _controls_in(self, ids: TokenIds) -> bool:
        return bool(np.isin(ids, list(self._control_ids)).any())

    def _encode_plainly(self, text: str) -> TokenizedText:
        encoding = self._untrusted.encode(text, add_special_tokens=False)
        ids = np.array(encoding.ids, np.int32)
        if not len(ids):
            return TokenizedText(ids, np.empty(0, np.int32))
        offsets = np.array(encoding.offsets, np.int32)
        # What a later token still starts before is not complete yet.
        later = np.minimum.accumulate(np.append(offsets[1:, 0], len(text))[::-1])[::-1]
        char_ends = np.minimum(np.maximum.accumulate(offsets[:, 1]), later)
        char_ends[-1] = len(text)
        return TokenizedText(ids, char_ends.astype(np.int32))
