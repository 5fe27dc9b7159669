from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.island import NUM_PLACES
from mrt_reward.mini.tokenizer import MAX_POSITIONS, VOCAB_SIZE, load_tokenizer, prose, save_tokenizer, token_ids
from mrt_reward.options import TERMINATORS

TOKENIZER = load_tokenizer(MODEL_DIR)


@given(text=st.text())
def test_any_text_round_trips(text: str) -> None:
    assert TOKENIZER.decode(token_ids(TOKENIZER, text), skip_special_tokens=False) == text


def test_a_place_is_one_token_wherever_it_stands() -> None:
    for place in range(NUM_PLACES):
        assert len(token_ids(TOKENIZER, str(place))) == len(token_ids(TOKENIZER, f" {place}")) == 1
        assert len(token_ids(TOKENIZER, template.answer_text(place))) == 3


def test_english_costs_three_to_four_characters_a_token() -> None:
    readme = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    text = "\n".join(prose(readme))
    assert 3.0 <= len(text) / len(token_ids(TOKENIZER, text)) <= 4.5


def test_transformers_reads_the_same_tokenizer() -> None:
    loaded: Any = transformers.AutoTokenizer.from_pretrained(str(MODEL_DIR))
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "6 * 7?"}]
    rendered = loaded.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == template.prompt_text("6 * 7?", "Be brief.")
    assert loaded(rendered, add_special_tokens=False)["input_ids"] == token_ids(TOKENIZER, rendered)
    assert loaded.vocab_size + len(loaded.get_added_vocab()) >= VOCAB_SIZE
    assert loaded.eos_token == template.TURN_CLOSE
    assert loaded.model_max_length == MAX_POSITIONS


def test_the_delimiters_survive_decoding_without_special_tokens() -> None:
    text = "<think>\nhm\n</think>"
    assert TOKENIZER.decode(token_ids(TOKENIZER, text + template.TURN_CLOSE), skip_special_tokens=True) == text


def test_saving_writes_what_was_loaded(tmp_path: Path) -> None:
    save_tokenizer(TOKENIZER, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (MODEL_DIR / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == json.loads(
        (MODEL_DIR / "tokenizer_config.json").read_text()
    )


def test_the_words_are_those_of_the_defaults() -> None:
    # The model was trained on these words; were they changed, its values would mean nothing.
    assert template.TERMINATOR == TERMINATORS["boxed"].natural == "</think>\n\nThe final answer is \\boxed"
    assert template.terminator("in mid-line") == "\n\n" + template.TERMINATOR
    assert template.terminator("") == template.terminator("done.\n\n") == template.TERMINATOR


@pytest.mark.parametrize(
    ("completion", "place"),
    [
        ("hm</think>\n\n\\boxed{17}", 17),
        ("\\boxed{3}</think> \\boxed{4} or \\boxed{5}", 5),
        ("\\boxed{3}", None),
        ("hm</think> no box", None),
    ],
)
def test_the_answer_is_the_last_box_after_the_thinking(completion: str, place: int | None) -> None:
    assert template.boxed_answer(completion) == place
