"""What each token of a `tokenizer.json` stands for, as bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_level_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level token stands for (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def kinds(component: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Types of a component of tokenizer.json, a sequence's members included."""
    if not component:
        return []
    members: list[Any] = component.get("decoders") or component.get("pretokenizers") or []
    return [component["type"], *[kind for member in members for kind in kinds(member)]]


class TokenBytes:
    """Bytes of single tokens, remembered.

    Byte-level tokens are read through GPT-2's table; `▁` of Metaspace is a space and `<0xNN>` a byte; added tokens are
    their content; any other decoder is asked about each token alone.

    Args:
        backend: tokenizer of the library `tokenizers`.
        spec: contents of its tokenizer.json.

    """

    def __init__(self, backend: Backend, spec: Mapping[str, Any]) -> None:
        decoders = kinds(spec.get("decoder")) + kinds(spec.get("pre_tokenizer"))
        self._backend = backend
        self._alphabet = byte_level_alphabet() if "ByteLevel" in decoders else None
        self._metaspace = bool({"Metaspace", "ByteFallback", "Replace"} & set(decoders))
        self._known: dict[int, bytes] = {added["id"]: added["content"].encode() for added in spec["added_tokens"]}

    def __getitem__(self, token: int) -> bytes:
        """Empty for an id that no token has."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._read(token)
        return known

    def _read(self, token: int) -> bytes:
        piece = self._backend.id_to_token(token)
        if piece is None:
            return b""
        if self._alphabet is not None:
            alphabet = self._alphabet
            return b"".join(bytes([alphabet[char]]) if char in alphabet else char.encode() for char in piece)
        if self._metaspace:
            byte = _BYTE_TOKEN.fullmatch(piece)
            return bytes.fromhex(byte[1]) if byte else piece.replace("▁", " ").encode()
        return self._backend.decode([token], skip_special_tokens=False).encode()


def without_prefix_space(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer.json with nothing that prepends, appends, truncates or pads."""
    plain = {**spec, "truncation": None, "padding": None, "post_processor": None}
    for part in ("normalizer", "pre_tokenizer"):
        plain[part] = _unprefixed(plain.get(part))
    return plain


def adds_prefix_space(spec: Mapping[str, Any]) -> bool:
    """Whether the tokenizer.json puts a space before every text."""
    return without_prefix_space(spec) != {**spec, "truncation": None, "padding": None, "post_processor": None}


def _unprefixed(component: Any) -> Any:  # noqa: ANN401 - JSON
    if not component or component["type"] == "Prepend":
        return None
    changed = dict(component)
    for members in ("normalizers", "pretokenizers"):
        if members in changed:
            changed[members] = [kept for kept in map(_unprefixed, changed[members]) if kept is not None]
    if changed.get("add_prefix_space"):
        changed["add_prefix_space"] = False
    if "prepend_scheme" in changed:
        changed["prepend_scheme"] = "never"
    return changed
