"""A policy's response as text, without re-encoding: which characters each of its tokens completes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer as Backend

from mrt_reward.errors import ConfigError
from mrt_reward.text.byte_text import locate_bytes, locate_unprefixed
from mrt_reward.text.token_bytes import TokenBytes, adds_prefix_space
from mrt_reward.types import TokenIds


class PolicyTokens:
    """Reads token ids of a policy.

    Args:
        source: its tokenizer.json.

    """

    def __init__(self, source: str) -> None:
        spec = cast("dict[str, Any]", json.loads(source))
        self._bytes = TokenBytes(Backend.from_str(source), spec)
        self._locate = locate_unprefixed if adds_prefix_space(spec) else locate_bytes
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

    def locate(self, ids: Sequence[int]) -> tuple[str, TokenIds]:
        """Text of the ids, control tokens written out, and how many characters are complete after each."""
        return self._locate([self._bytes[token] for token in ids])
