from __future__ import annotations

import re

import numpy as np
import pytest
from tokenizers import Tokenizer

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.charts import sample_charted
from mrt_reward.mini.island import sample_problem
from mrt_reward.mini.packing import PackingRule, TrainingRow, pack_trace
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.mini.truth import open_candidates, prefixes
from mrt_reward.mini.writer import BASE_SLOPPINESS, TIDY, write_thinking

ENDS_ONLY = PackingRule(num_random_cuts=0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(MODEL_DIR)


def packed(tokenizer: Tokenizer, seed: int, rule: PackingRule = ENDS_ONLY) -> tuple[TrainingRow, str, str]:
    rng = np.random.default_rng(seed)
    problem = sample_problem(rng)
    writing = write_thinking(problem, BASE_SLOPPINESS, rng)
    return pack_trace(tokenizer, problem, writing, rng, rule), problem.text, writing.text


def test_a_branch_sees_the_trunk_up_to_its_cut_and_itself(tokenizer: Tokenizer) -> None:
    row, _, _ = packed(tokenizer, 3)
    visible = row.visible()
    for branch in range(1, int(row.branch_T.max()) + 1):
        own = np.flatnonzero(row.branch_T == branch)
        cut = int(row.cut_T[own[0]])
        for number, token in enumerate(own):
            assert set(np.flatnonzero(visible[token])) == {*range(cut), *own[: number + 1]}
            assert row.position_T[token] == cut + number


def test_every_branch_reads_as_a_forced_answer_after_its_prefix(tokenizer: Tokenizer) -> None:
    row, question, thinking = packed(tokenizer, 4)
    rng = np.random.default_rng(4)
    problem = sample_problem(rng)
    prompt = template.prompt_text(question)
    for branch, prefix in enumerate(prefixes(thinking)[:-1], start=1):
        own = np.flatnonzero(row.branch_T == branch)
        seen = tokenizer.decode(row.id_T[: row.cut_T[own[0]]].tolist(), skip_special_tokens=False)
        assert seen.endswith(prompt + prefix)
        forced = tokenizer.decode(row.id_T[own].tolist(), skip_special_tokens=False)
        assert forced.startswith(template.terminator(prefix) + "{")
        brace = own[-3]
        place = int(np.flatnonzero(row.at_L == brace)[0])
        options = row.target_LC[place][row.weight_LC[place] > 0]
        assert {tokenizer.decode([token]) for token in options} == {
            str(candidate) for candidate in open_candidates(problem, prefix)
        }
        assert row.weight_LC[place].sum() == pytest.approx(ENDS_ONLY.place_weight)


def test_a_forced_ending_never_teaches_to_stop(tokenizer: Tokenizer) -> None:
    row, _, _ = packed(tokenizer, 5, PackingRule(num_random_cuts=3))
    close = token_ids(tokenizer, template.THINK_CLOSE)[0]
    taught = [row.branch_T[at] for at, targets in zip(row.at_L, row.target_LC, strict=True) if targets[0] == close]
    assert taught == [0]


def test_a_long_trace_is_cut_and_has_no_natural_ending(tokenizer: Tokenizer) -> None:
    row, _, _ = packed(tokenizer, 6, PackingRule(max_thinking_tokens=40, num_random_cuts=0))
    close = token_ids(tokenizer, template.THINK_CLOSE)[0]
    trunk = row.id_T[row.branch_T == 0]
    assert close not in trunk
    assert close in row.id_T[row.branch_T > 0]


def test_a_choice_is_trained_on_its_whole_distribution(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(8)
    problem = sample_problem(rng)
    writing = write_thinking(problem, BASE_SLOPPINESS, rng)
    row = pack_trace(tokenizer, problem, writing, rng, ENDS_ONLY)
    following = [tokenizer.decode(row.id_T[at + 1 : at + 2].tolist()) for at in row.at_L]
    chosen = [
        place
        for place, text in enumerate(following)
        if row.branch_T[row.at_L[place]] == 0
        and row.weight_LC[place].sum() == pytest.approx(ENDS_ONLY.place_weight)
        and text.startswith(" ")
    ]
    assert len(chosen) == len(writing.choices) >= 2
    for place, choice in zip(chosen, writing.choices, strict=True):
        given = {
            tokenizer.decode([int(token)]): share
            for token, share in zip(row.target_LC[place], row.weight_LC[place] / ENDS_ONLY.place_weight, strict=True)
            if share
        }
        assert given == pytest.approx({f" {option}": share for option, share in choice.probability.items()})
        # The token that follows is the one that was drawn.
        assert writing.text[choice.char_start :].startswith(following[place].strip())


def charted(tokenizer: Tokenizer, seed: int, rule: PackingRule) -> tuple[TrainingRow, str]:
    rng = np.random.default_rng(seed)
    problem = sample_charted(rng, (4,))
    writing = write_thinking(problem, TIDY, rng)
    return pack_trace(tokenizer, problem, writing, rng, rule), writing.text


def test_every_place_that_is_looked_up_weighs_as_much_as_an_answer(tokenizer: Tokenizer) -> None:
    row, thinking = charted(tokenizer, 1, ENDS_ONLY)
    looked_up = [
        tokenizer.decode([int(targets[0])]).strip()
        for at, targets, weights in zip(row.at_L, row.target_LC, row.weight_LC, strict=True)
        if row.branch_T[at] == 0
        and weights[0] == ENDS_ONLY.place_weight
        and tokenizer.decode([int(row.id_T[at])]) == " to"
    ]
    walks = re.findall(r"From \d+ to ([^.]+)\.", thinking)
    assert looked_up == [place for walk in walks for place in walk.split(" to ")]


def test_some_forced_answers_are_in_free_form_and_teach_their_own_words(tokenizer: Tokenizer) -> None:
    row, _ = charted(tokenizer, 2, PackingRule(num_random_cuts=0, free_share=1.0))
    close = token_ids(tokenizer, template.THINK_CLOSE)[0]
    for branch in range(1, int(row.branch_T.max()) + 1):
        own = np.flatnonzero(row.branch_T == branch)
        said = tokenizer.decode(row.id_T[own].tolist(), skip_special_tokens=False)
        assert said.startswith(template.FREE_TERMINATOR)
        assert template.boxed_answer(said) is not None
        taught = {int(target[0]) for at, target in zip(row.at_L, row.target_LC, strict=True) if at in own}
        # What forces it is not taught: it must not make the policy stop.
        assert close not in taught
        explained = len(own) - len(token_ids(tokenizer, template.FREE_TERMINATOR))
        assert sum(at in own for at in row.at_L) == explained + 1
    # The policy's own ending stays boxed at once.
    assert template.TERMINATOR in tokenizer.decode(row.id_T[row.branch_T == 0].tolist(), skip_special_tokens=False)
