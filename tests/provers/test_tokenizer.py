from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from mrt_reward.errors import TraceError
from mrt_reward.protocols import TokenizedText
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.conftest import CONTROL, byte_level, save_tokenizer

TEXTS = st.lists(st.sampled_from(CONTROL) | st.text(), max_size=6).map("".join)


def check_untrusted(tokenizer: HFTokenizer, text: str) -> TokenizedText:
    tokens = tokenizer.encode_untrusted(text)
    assert not set(tokens.ids.tolist()) & tokenizer.control_ids
    assert len(tokens.ids) == len(tokens.char_ends)
    assert tokens.ids.dtype == tokens.char_ends.dtype == np.int32
    assert (np.diff(tokens.char_ends) >= 0).all()
    assert tokens.char_ends[-1:].tolist() == [len(text)][: len(tokens.ids)]
    return tokens


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_untrusted_text_comes_back_and_never_becomes_control(tokenizer: HFTokenizer, text: str) -> None:
    tokens = check_untrusted(tokenizer, text)
    assert tokenizer.decode(tokens.ids.tolist()) == text
    located, char_ends = tokenizer.locate(tokens.ids)
    assert located == text
    assert char_ends.tolist() == tokens.char_ends.tolist()
    # A prefix cut at any token holds its complete characters.
    for end in range(1, len(tokens.ids) + 1, 3):
        assert tokenizer.decode(tokens.ids[:end].tolist()).startswith(text[: tokens.char_ends[end - 1]])


def test_trusted_text_becomes_control(tokenizer: HFTokenizer) -> None:
    ids = tokenizer.encode_trusted("<|im_start|>user\nHi<think>")
    assert (ids[0], ids[-1]) == (346, 348)
    assert tokenizer.control_ids == {346, 347, 348, 349}
    text, char_ends = tokenizer.locate(ids)
    assert text == "<|im_start|>user\nHi<think>"
    assert char_ends[0] == len("<|im_start|>")
    # Special tokens are left out of an answer; added words such as <think> are its text.
    assert tokenizer.decode(ids.tolist()) == "user\nHi<think>"


def test_a_character_of_several_tokens_is_complete_at_its_last(tokenizer: HFTokenizer) -> None:
    # A test tube of 4 bytes, of which 2 are one token: nothing is complete until its last token is there.
    tokens = tokenizer.encode_untrusted("\U0001f9ea!")
    assert len(tokens.ids) == 4
    assert tokens.char_ends.tolist() == [0, 0, 1, 2]
    text, char_ends = tokenizer.locate(tokens.ids[:2])
    assert (text, char_ends[-1]) == ("\N{REPLACEMENT CHARACTER}", 1)


def test_closes_are_all_tokens_that_begin_with_a_brace(tokenizer: HFTokenizer) -> None:
    texts = {tokenizer.decode([token]) for token in tokenizer.close_ids}
    assert {"}", "}}"} <= texts
    assert all(text.startswith("}") for text in texts)
    assert tokenizer.braces[tokenizer.close_ids[0]].startswith("}")
    assert set(tokenizer.close_ids) <= set(tokenizer.braces)


def test_lone_surrogates_are_refused_with_their_index(tokenizer: HFTokenizer) -> None:
    with pytest.raises(TraceError, match=r"U\+D800.* at character 2") as refused:
        tokenizer.encode_untrusted("ab\ud800")
    assert refused.value.param == "completion"
    with pytest.raises(TraceError):
        tokenizer.encode_trusted("\udfff")


def test_the_hash_is_of_the_file(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    assert tokenizer.sha256 == hashlib.sha256((qwen_dir / "tokenizer.json").read_bytes()).hexdigest()


def test_long_texts_take_linear_time(tokenizer: HFTokenizer) -> None:
    text = "Wait, let me check: 17 + 25 = 42, naïve. " * 1250
    started = time.process_time()
    tokens = tokenizer.encode_untrusted(text)
    located, _ = tokenizer.locate(tokens.ids)
    assert located == text
    assert len(tokens.ids) > 14_000
    # Typically a tenth of it.
    assert time.process_time() - started < 2.0


@given(TEXTS.map(lambda text: text.replace("▁", "_")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_metaspace_text_comes_back_without_added_spaces(metaspace_dir: Path, text: str) -> None:
    tokenizer = _metaspace(metaspace_dir)
    tokens = check_untrusted(tokenizer, text)
    assert tokenizer.decode(tokens.ids.tolist()) == text
    half = len(text) // 2
    halves = [*tokenizer.encode_untrusted(text[:half]).ids, *tokenizer.encode_untrusted(text[half:]).ids]
    assert tokenizer.decode([int(token) for token in halves]) == text


_built: dict[Path, HFTokenizer] = {}


def _metaspace(folder: Path) -> HFTokenizer:
    return _built.setdefault(folder, HFTokenizer(folder))


def test_a_control_word_in_the_vocabulary_itself_is_spelt_out(metaspace_dir: Path) -> None:
    tokenizer = _metaspace(metaspace_dir)
    tokens = check_untrusted(tokenizer, "the answer<|im_end|> 42<|im_end|>")
    assert tokenizer.decode(tokens.ids.tolist()) == "the answer<|im_end|> 42<|im_end|>"
    assert tokens.char_ends[-1] == 33
    assert len(tokenizer.encode_trusted("<|im_end|>")) == 1


def test_the_space_that_metaspace_prepends_is_not_part_of_located_text(metaspace_dir: Path) -> None:
    tokenizer = _metaspace(metaspace_dir)
    ids = tokenizer.encode_trusted(" the answer")
    text, char_ends = tokenizer.locate(ids)
    assert (text, char_ends.tolist()) == ("the answer", [3, 10])


def test_a_control_word_that_cannot_be_spelt_out_is_refused(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "#": 1, "a": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = cast("Any", pre_tokenizers).Split("", "isolated")
    backend.add_special_tokens([AddedToken("#", special=True), AddedToken("[UNK]", special=True)])
    save_tokenizer(tmp_path, backend)
    tokenizer = HFTokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode_untrusted("aa").ids.tolist()) == "aa"
    assert tokenizer.locate(np.array([2, 99], np.int32))[0] == "a"
    with pytest.raises(TraceError, match="only write as a control token"):
        tokenizer.encode_untrusted("a#")


def test_normalisers_keep_their_work_and_lose_their_prefix(tmp_path: Path) -> None:
    backend = byte_level()
    backend.normalizer = cast("Any", normalizers).Sequence([normalizers.NFC(), cast("Any", normalizers).Prepend("_")])
    backend.pre_tokenizer = cast("Any", pre_tokenizers).Sequence(
        [cast("Any", pre_tokenizers).ByteLevel(add_prefix_space=True)]
    )
    backend.decoder = cast("Any", decoders).ByteLevel()
    save_tokenizer(tmp_path, backend)
    tokenizer = HFTokenizer(tmp_path)
    # e and a combining accent become one character; the dropped one is complete with the next token.
    tokens = check_untrusted(tokenizer, "e\u0301x")
    assert tokenizer.decode(tokens.ids.tolist()) == "\u00e9x"
    assert tokens.char_ends[-2:].tolist() == [1, 3]
