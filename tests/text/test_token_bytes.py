"""Tokens as bytes, for each family of tokenizer, against what the tokenizer itself decodes."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from mrt_reward.text.token_bytes import (
    TokenBytes,
    adds_prefix_space,
    byte_level_alphabet,
    kinds,
    without_prefix_space,
)


def spec_of(backend: Tokenizer) -> dict[str, Any]:
    return json.loads(backend.to_str())


def byte_level(**settings: Any) -> Tokenizer:
    """A token for each byte, and `he`."""
    letters = {char: index for index, char in enumerate(byte_level_alphabet())}
    backend = Tokenizer(models.BPE({**letters, "he": 256}, [("h", "e")]))
    backend.pre_tokenizer = cast("Any", pre_tokenizers).ByteLevel(**{"add_prefix_space": False, **settings})
    backend.decoder = cast("Any", decoders).ByteLevel()
    backend.add_special_tokens([AddedToken("<|é|>", special=True)])
    return backend


def metaspace(prepend: str = "always") -> Tokenizer:
    pieces = ["<unk>", *[f"<0x{byte:02X}>" for byte in range(256)], "▁", "▁the", "é"]
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = cast("Any", pre_tokenizers).Metaspace(prepend_scheme=prepend)
    backend.decoder = cast("Any", decoders).Sequence([decoders.ByteFallback(), cast("Any", decoders).Metaspace()])
    return backend


def word_piece() -> Tokenizer:
    vocabulary = {"[UNK]": 0, "un": 1, "##known": 2}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = cast("Any", pre_tokenizers).Whitespace()
    backend.decoder = cast("Any", decoders).WordPiece()
    return backend


BYTE_LEVEL = byte_level()
BYTES = TokenBytes(BYTE_LEVEL, spec_of(BYTE_LEVEL))


def test_each_byte_has_one_character_as_gpt_2_writes_it() -> None:
    alphabet = byte_level_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert set(alphabet) == set(cast("Any", pre_tokenizers).ByteLevel.alphabet())
    # GPT-2 writes a space as Ġ and a line feed as Ċ.
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["A"]) == (0x20, 0x0A, 0x41)


@given(st.text())
def test_byte_level_tokens_joined_are_the_text(text: str) -> None:
    ids = BYTE_LEVEL.encode(text, add_special_tokens=False).ids
    assert b"".join(BYTES[token] for token in ids) == text.encode()


def test_a_token_may_be_part_of_a_character_and_an_added_one_is_its_content() -> None:
    assert [BYTES[token] for token in BYTE_LEVEL.encode("hé", add_special_tokens=False).ids] == [b"h", b"\xc3", b"\xa9"]
    [added] = BYTE_LEVEL.encode("<|é|>", add_special_tokens=False).ids
    assert BYTES[added] == "<|é|>".encode()


@pytest.mark.parametrize("token", [10**6, 257 + 1])
def test_an_id_that_no_token_has_is_nothing(token: int) -> None:
    assert BYTES[token] == b""


def test_metaspace_is_a_space_and_a_byte_token_its_byte() -> None:
    backend = metaspace()
    found = TokenBytes(backend, spec_of(backend))
    pieces = {"▁": b" ", "▁the": b" the", "é": "é".encode(), "<0x0A>": b"\n", "<0xC3>": b"\xc3"}
    assert {piece: found[cast("int", backend.token_to_id(piece))] for piece in pieces} == pieces


def test_any_other_tokenizer_is_asked_about_each_token_alone() -> None:
    backend = word_piece()
    found = TokenBytes(backend, spec_of(backend))
    assert [found[1], found[2]] == [backend.decode([1]).encode(), backend.decode([2]).encode()]
    assert found[99] == b""


@pytest.mark.parametrize(
    ("backend", "adds"),
    [
        (byte_level(), False),
        (byte_level(add_prefix_space=True), True),
        (metaspace("always"), True),
        (metaspace("first"), True),
        (metaspace("never"), False),
        (word_piece(), False),
    ],
)
def test_a_space_before_every_text_is_found_and_left_out(backend: Tokenizer, *, adds: bool) -> None:
    spec = spec_of(backend)
    assert adds_prefix_space(spec) is adds
    plain = Tokenizer.from_str(json.dumps(without_prefix_space(spec)))
    found = TokenBytes(plain, spec)
    ids = plain.encode("the", add_special_tokens=False).ids
    assert not found[ids[0]].startswith(b" ")
    assert not adds_prefix_space(without_prefix_space(spec))


def test_a_prefix_within_a_sequence_is_left_out_and_its_neighbours_stay() -> None:
    backend = metaspace("never")
    backend.normalizer = cast("Any", normalizers).Sequence(
        [cast("Any", normalizers).Prepend("▁"), cast("Any", normalizers).Replace(" ", "▁")]
    )
    spec = spec_of(backend)
    assert adds_prefix_space(spec)
    kept = without_prefix_space(spec)["normalizer"]["normalizers"]
    assert [member["type"] for member in kept] == ["Replace"]
    assert [member["type"] for member in spec["normalizer"]["normalizers"]] == ["Prepend", "Replace"], "not changed"


def test_nothing_is_cut_off_padded_or_put_around_a_text() -> None:
    backend = byte_level()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    plain = Tokenizer.from_str(json.dumps(without_prefix_space(spec_of(backend))))
    assert len(plain.encode("abcde", add_special_tokens=False).ids) == 5


def test_members_of_a_sequence_are_components_too() -> None:
    assert kinds(None) == []
    assert kinds(spec_of(metaspace())["decoder"]) == ["Sequence", "ByteFallback", "Metaspace"]
