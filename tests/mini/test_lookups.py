from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.charts import sample_charted
from mrt_reward.mini.lookups import prepare_for_lookups
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.mini.writer import TIDY, write_thinking


def attention(*, prepared: bool) -> tuple[Any, list[str], int]:
    """Attention of each layer over a question and a search, its tokens, and where the search starts."""
    tokenizer = load_tokenizer(MODEL_DIR)
    loaded: Any = LlamaForCausalLM.from_pretrained(str(MODEL_DIR), dtype=torch.float32, attn_implementation="eager")
    if prepared:
        prepare_for_lookups(loaded, tokenizer)
    rng = np.random.default_rng(0)
    problem = sample_charted(rng, (8,))
    prompt = token_ids(tokenizer, template.prompt_text(problem.text))
    ids = prompt + token_ids(tokenizer, write_thinking(problem, TIDY, rng).text)
    with torch.no_grad():
        seen = loaded(torch.tensor([ids]), output_attentions=True).attentions
    return seen, [tokenizer.decode([token]) for token in ids], len(prompt)


def on_the_right_token(*, prepared: bool) -> dict[str, float]:
    """Mean weight on the token that each of the three heads should look at."""
    seen, words, start = attention(prepared=prepared)
    ends = [at for at in range(start) if words[at - 1] == ">"]
    asking = [at for at in range(start, len(words)) if words[at] == " to" and words[at - 1].strip().isdigit()]

    def path(at: int) -> int:
        return next(end for end in ends if int(words[end - 2]) == int(words[at - 1]))

    return {
        "begin": float(np.mean([float(seen[0][0, 3, end, end - 2]) for end in ends])),
        "current": float(np.mean([float(seen[0][0, 1, at, at - 1]) for at in asking])),
        "path": float(np.mean([float(seen[1][0, 3, at, path(at)]) for at in asking])),
    }


def test_heads_look_where_a_path_begins_where_one_stands_and_up_the_path() -> None:
    weight = on_the_right_token(prepared=True)
    assert weight["begin"] > 0.99
    assert weight["current"] > 0.99
    assert weight["path"] > 0.5
    # Not so before.
    assert max(on_the_right_token(prepared=False).values()) < 0.5


def test_other_heads_stay_as_they_were() -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    models: list[Any] = [LlamaForCausalLM.from_pretrained(str(MODEL_DIR), dtype=torch.float32) for _ in range(2)]
    before, after = models
    prepare_for_lookups(after, tokenizer)
    changed = [
        name
        for name, weight in after.named_parameters()
        if not torch.equal(weight, dict(before.named_parameters())[name])
    ]
    assert {name.split(".")[2] for name in changed} == {"0", "1"}
    assert all("self_attn" in name for name in changed)
    kept = slice(0, 64)
    for layer in (0, 1):
        was, now = (model.model.layers[layer].self_attn.q_proj.weight[kept] for model in (before, after))
        assert torch.equal(was, now)


def test_preparing_is_the_same_every_time() -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    first, second = (LlamaForCausalLM.from_pretrained(str(MODEL_DIR), dtype=torch.float32) for _ in range(2))
    for model in (first, second):
        prepare_for_lookups(model, tokenizer)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        assert bool(one.isfinite().all())


@pytest.mark.parametrize("seed", range(3))
def test_a_free_form_answer_takes_thirty_to_forty_tokens(seed: int) -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    said = template.free_explanation(np.random.default_rng(seed))
    num_tokens = len(token_ids(tokenizer, said)) + len(token_ids(tokenizer, template.answer_text(7))) + 1
    assert 30 <= num_tokens <= 40
    assert template.boxed_answer(f"</think>{said}{template.answer_text(7)}") == 7
