from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.benchmark.counting import asked, prefill_lengths, shared_length, terminated, unique_tokens
from mrt_reward.benchmark.workload import WorkSpec, make_work
from mrt_reward.options import Rollouts
from mrt_reward.provers.tokenizer import HFTokenizer


def ids(*tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def test_a_shared_beginning_counts_once() -> None:
    # 1 2 3, then 4 after 1 2, then 9: five nodes. The second 1 2 3 and the bare 1 are there already.
    assert unique_tokens([ids(1, 2, 3), ids(1, 2, 4), ids(9), ids(1, 2, 3), ids(1)]) == 5
    assert unique_tokens([]) == 0


def test_how_long_two_sequences_agree() -> None:
    assert shared_length(ids(1, 2, 3), ids(1, 2, 4)) == 2
    assert shared_length(ids(1, 2), ids(1, 2, 4)) == 2
    assert shared_length(ids(), ids(1)) == 0


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=12))
def test_unique_tokens_are_the_different_nonempty_beginnings(sequences: list[list[int]]) -> None:
    beginnings = {tuple(one[:size]) for one in sequences for size in range(1, len(one) + 1)}
    assert unique_tokens(np.array(one, np.int32) for one in sequences) == len(beginnings)


@pytest.mark.parametrize("most", [10_000, 50])
def test_plain_prompts_hold_exactly_the_needed_tokens(mini_tokenizer: HFTokenizer, most: int) -> None:
    work = make_work(WorkSpec(2, 3, 4, 20), mini_tokenizer)
    lengths = prefill_lengths(work.jobs, most)
    assert sum(lengths) == work.needed_tokens
    assert min(lengths) >= 1
    assert max(lengths) <= most
    if most > 1000:
        assert len(lengths) == len(work.traces)


def test_what_is_asked_ends_with_the_spelling_where_likelihoods_are_asked(mini_tokenizer: HFTokenizer) -> None:
    spec = WorkSpec(1, 1, 2, 10)
    [job] = make_work(spec, mini_tokenizer).jobs
    # `{` and a number of two digits, which is one token here.
    assert [len(full) - len(prompt) for full, prompt in zip(asked(job), terminated(job), strict=True)] == [2, 2, 2]
    [job] = make_work(spec, mini_tokenizer, Rollouts("rollouts")).jobs
    assert [full.tolist() for full in asked(job)] == [prompt.tolist() for prompt in terminated(job)]
