from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.policy import load_model
from mrt_reward.mini.tokenizer import token_ids
from tests.study.network import Network
from tests.study.sampler import Sampling, padded, sample


@cache
def mini() -> tuple[Any, Any, Network]:
    model, tokenizer = load_model(MODEL_DIR)
    return model, tokenizer, Network(model)


def prompts(num: int, seed: int = 0) -> list[list[int]]:
    _, tokenizer, _ = mini()
    return [token_ids(tokenizer, template.prompt_text(problem.text)) for problem in sample_problems(num, seed)]


def how(budget: int, seed: int = 0, temperature: float = 1.0) -> Sampling:
    _, tokenizer, _ = mini()
    end, pad = (tokenizer.token_to_id(token) for token in (template.TURN_CLOSE, template.PAD))
    return Sampling(3, budget, temperature, end, pad, seed)


def test_rows_behind_a_shared_prompt_are_what_transformers_makes_of_each() -> None:
    model, _, network = mini()
    asked = prompts(3)
    written = torch.tensor(np.random.default_rng(0).integers(3, 4000, (3, 2, 9)))
    with torch.no_grad():
        ours = network.logits(network.write(written, network.read(*padded(asked, 0))))
        for p, prompt in enumerate(asked):
            for g in range(2):
                theirs = model(torch.tensor([prompt + written[p, g].tolist()])).logits[0, len(prompt) :]
                assert torch.allclose(ours[p, g], theirs, atol=2e-3, rtol=1e-4)


def test_one_token_after_another_is_the_same_as_all_at_once() -> None:
    _, _, network = mini()
    written = torch.tensor(np.random.default_rng(1).integers(3, 4000, (2, 2, 5)))
    with torch.no_grad():
        read = network.read(*padded(prompts(2), 0))
        whole = network.write(written, read)
        cache_ = network.new_cache(2, 2, 5)
        parts = [network.write(written[..., t : t + 1], read, cache_) for t in range(5)]
    assert torch.allclose(torch.cat(parts, 2), whole, atol=1e-3, rtol=1e-4)


def test_what_a_row_writes_does_not_depend_on_who_runs_beside_it() -> None:
    _, _, network = mini()
    asked = prompts(6)
    together = sample(network, asked, how(60))
    # Alone, the draws of the first prompt are the first ones; rows leave at other times.
    assert sample(network, asked[:1], how(60)) == together[:3]
    assert together == sample(network, asked, how(60))
    assert together != sample(network, asked, how(60, seed=1))
    ends = [row[-1] == how(60).end for row in together]
    assert any(ends)
    assert all(
        row.count(how(60).end) <= 1 and (ended or len(row) == 60) for row, ended in zip(together, ends, strict=True)
    )


def test_a_row_that_goes_on_alone_follows_the_models_own_probabilities() -> None:
    model, _, network = mini()
    [prompt] = prompts(1)
    # Nearly greedy: the draws no longer matter, and transformers' own greedy search is the reference.
    ours = sample(network, [prompt], how(40, temperature=1e-4))
    theirs = model.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=40, eos_token_id=how(1).end, pad_token_id=0
    )
    assert ours[0] == ours[1] == theirs[0, len(prompt) :].tolist()[: len(ours[0])]


def test_draws_follow_the_probabilities() -> None:
    _, _, network = mini()
    [prompt] = prompts(1)
    with torch.no_grad():
        expected = network.logits(network.read(*padded([prompt], 0)).last_PD)[0].softmax(-1)
    many = Sampling(4000, 1, 1.0, how(1).end, how(1).pad, 5)
    first = [row[0] for row in sample(network, [prompt], many)]
    for token in expected.topk(3).indices.tolist():
        share, wanted = first.count(token) / 4000, float(expected[token])
        assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / 4000) ** 0.5 + 1e-3)
