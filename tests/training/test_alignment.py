from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tokenizers import Tokenizer

from mrt_reward.core.prefixes import token_spans
from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import Delimiters
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.training.alignment import PolicyTokens, answer_start, opens_thinking
from mrt_reward.training.responses import Response
from mrt_reward.types import Span
from tests.provers.conftest import byte_level, metaspace

TEXT = "<think>\nnaïve café 日本語 🦊.\n\nWait, 17 + 25 = 42.</think>\\boxed{42}"


def kinds() -> dict[str, Tokenizer]:
    return {"byte_level": byte_level(), "sentencepiece": metaspace()}


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_tokens_spell_the_text_that_they_were_made_of(kind: str) -> None:
    backend = kinds()[kind]
    ids = backend.encode(TEXT, add_special_tokens=False).ids
    text, char_ends = PolicyTokens(backend.to_str()).locate(ids)
    assert text == TEXT
    assert char_ends[-1] == len(TEXT)
    assert len(char_ends) == len(ids)
    assert (char_ends[1:] >= char_ends[:-1]).all()


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_a_cut_after_a_character_of_several_tokens_keeps_it_whole(kind: str) -> None:
    backend = kinds()[kind]
    tokens = PolicyTokens(backend.to_str())
    ids = backend.encode(TEXT, add_special_tokens=False).ids
    text, char_ends = tokens.locate(ids)
    cut = text.index("🦊") + 1
    [first, second] = token_spans([Span(8, cut), Span(cut, text.index("</think>"))], char_ends)
    assert tokens.locate(ids[first.start : first.end])[0].endswith("🦊")
    assert tokens.locate(ids[second.start : second.end])[0].lstrip().startswith(".")
    assert first.end == second.start


def test_special_tokens_and_a_truncated_character_are_located() -> None:
    backend = byte_level()
    tokens = PolicyTokens(backend.to_str())
    ids = backend.encode("<|im_start|>a😀", add_special_tokens=False).ids
    text, char_ends = tokens.locate(ids[:-1])
    assert text == "<|im_start|>a\N{REPLACEMENT CHARACTER}"
    assert char_ends.tolist()[:2] == [12, 13]
    assert char_ends[-1] == 14


def test_the_hash_is_that_of_the_prover_with_the_same_file() -> None:
    tokens = PolicyTokens.of(None, MODEL_DIR)
    assert tokens.sha256 == HFTokenizer(MODEL_DIR).sha256


def test_without_a_file_the_tokenizer_itself_is_asked(tmp_path: Path) -> None:
    class Fast:
        backend_tokenizer = byte_level()

    tokens = PolicyTokens.of(Fast(), tmp_path)
    assert tokens.locate(cast("Any", Fast.backend_tokenizer).encode("ab").ids)[0] == "ab"
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        PolicyTokens.of(object())


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        (CHATML.format("Begin with <think>."), False),
        (CHATML.format("Begin with <think>.") + "<think>\n", True),
        (CHATML.format("6*7?") + "<think>\nFirst thoughts.\n\nWait", True),
        (CHATML.format("6*7?") + "<think>\n\n</think>\n\n", False),
        (CHATML.format("6*7?") + "</think>", False),
        ("User: Begin with <think>. Assistant:", False),
        ("User: 6*7? Assistant: <think>\nFirst", True),
    ],
)
def test_only_the_policys_own_turn_opens_its_thinking(prompt: str, *, opened: bool) -> None:
    backend = byte_level()
    tokens = PolicyTokens(backend.to_str())
    prompt_ids = backend.encode(prompt, add_special_tokens=False).ids
    assert opens_thinking(prompt_ids, tokens, Delimiters()) is opened
    response_ids = backend.encode("It is 42.", add_special_tokens=False).ids
    first = answer_start(Response(prompt_ids, response_ids), tokens, Delimiters())
    assert first == (len(response_ids) if opened else 0)
    assert not opens_thinking(prompt_ids, tokens, Delimiters("", "</think>"))


def test_tokens_that_end_or_pad_a_response_are_no_part_of_it() -> None:
    backend = byte_level()
    tokens = PolicyTokens(backend.to_str())
    ids = backend.encode("ab<|im_end|>c</think><|im_end|><|im_start|>", add_special_tokens=False).ids
    assert tokens.locate(tokens.without_end(ids))[0] == "ab<|im_end|>c</think>"
    assert list(tokens.without_end([])) == []
