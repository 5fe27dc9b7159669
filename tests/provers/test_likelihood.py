"""Log-probabilities of spellings from those of tokens, with numbers worked by hand. No engine is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mrt_reward.core.values import LOG_SLACK
from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds
from mrt_reward.provers.likelihood import ROOT, Lookup, SpellingTree, spelling_logprobs, spelling_tree

# "42" and "42.0" share their first two tokens; "\frac" shares only the first.
SPELLINGS = (SpellingIds((1, 2), (9,)), SpellingIds((1, 2, 3, 4), (8, 9)), SpellingIds((1, 5), (9,)))


def lookup(table: Mapping[int, Mapping[int, float]]) -> Lookup:
    def logprobs(node: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        return np.array([table[node].get(token, math.nan) for token in tokens])

    return logprobs


def one(spelling: SpellingIds, *steps: Mapping[int, float]) -> float:
    """Of one spelling, from its steps first to last."""
    [logprob] = spelling_logprobs(spelling_tree([spelling]), lookup(dict(enumerate(steps, start=ROOT))))
    return float(logprob)


def test_common_beginnings_are_one_node_and_parents_come_before_their_children() -> None:
    tree = spelling_tree(SPELLINGS)
    # Nodes in order: 1, then 2 after it, then 3 and 4, then 5 after 1.
    assert tree.tokens == (1, 2, 3, 4, 5)
    assert tree.parents == (ROOT, 0, 1, 2, 0)
    assert tree.paths == ((0, 1), (0, 1, 2, 3), (0, 4))
    assert [tree.beginning(node) for node in (ROOT, 0, 3, 4)] == [(), (1,), (1, 2, 3, 4), (1, 5)]


def test_wanted_after_a_node_are_its_children_and_the_closes_of_what_ends_there() -> None:
    assert spelling_tree(SPELLINGS).wanted() == {ROOT: (1,), 0: (2, 5), 1: (3, 9), 2: (4,), 3: (8, 9), 4: (9,)}


def test_equal_spellings_share_their_nodes_and_keep_their_own_closes() -> None:
    tree = spelling_tree((SpellingIds((1,), (2,)), SpellingIds((1,), (3,))))
    assert tree == SpellingTree((1,), (ROOT,), ((0,), (0,)), ((2,), (3,)))


def test_the_closes_are_summed_and_the_tokens_multiplied() -> None:
    # 1/2 for the first token, 1/4 for the second, and 1/8 + 1/8 for either close.
    steps = [{1: math.log(1 / 2)}, {2: math.log(1 / 4)}, {8: math.log(1 / 8), 9: math.log(1 / 8)}]
    assert one(SpellingIds((1, 2), (8, 9)), *steps) == pytest.approx(math.log(1 / 32))
    # The shorter spelling closes after its first token: 1/2 · 1/16.
    assert one(SpellingIds((1,), (8,)), steps[0], {8: math.log(1 / 16)}) == pytest.approx(math.log(1 / 32))


def test_several_probes_are_read_at_once_and_alike() -> None:
    tree = spelling_tree(SPELLINGS)
    rng = np.random.default_rng(0)
    logprob_PNV = np.log(rng.dirichlet(np.ones(10), size=(4, 6)))
    together = spelling_logprobs(tree, lambda node, tokens: logprob_PNV[:, node + 1, list(tokens)])
    assert together.shape == (4, 3)
    for probe, row in enumerate(together):
        alone = spelling_logprobs(tree, lambda node, tokens, p=probe: logprob_PNV[p, node + 1, list(tokens)])
        np.testing.assert_array_equal(row, alone)


def test_the_spellings_of_a_distribution_have_at_most_all_of_its_probability() -> None:
    # Spellings and closes are disjoint events of one model, so their probabilities sum to at most 1.
    rng = np.random.default_rng(1)
    for _ in range(50):
        logprob_NV = np.log(rng.dirichlet(np.full(10, 0.3), size=6))
        logprobs = spelling_logprobs(
            spelling_tree(SPELLINGS), lambda node, tokens, table=logprob_NV: table[node + 1, list(tokens)]
        )
        assert np.exp(logprobs).sum() <= 1 + 1e-12


def test_no_chance_is_minus_infinity_and_no_close_as_well() -> None:
    assert one(SpellingIds((1,), (9,)), {1: 0.0}, {9: -math.inf}) == -math.inf
    assert one(SpellingIds((1,), (9,)), {1: -math.inf}, {9: -1.0}) == -math.inf
    assert one(SpellingIds((1,), ()), {1: -1.0}, {}) == -math.inf


def test_rounding_never_lifts_above_0() -> None:
    assert one(SpellingIds((1,), (9,)), {1: 1e-6}, {9: LOG_SLACK}) == 0.0


@pytest.mark.parametrize("value", [math.nan, 0.5, math.inf, 2 * LOG_SLACK])
def test_what_is_no_log_probability_is_an_error_that_names_the_token(value: float) -> None:
    with pytest.raises(ProverError, match=f"log-probability of token 1, at most 0, the engine gave {value}") as raised:
        one(SpellingIds((1,), (9,)), {1: value}, {9: -1.0})
    assert raised.value.code == "broken_logprobs"
    with pytest.raises(ProverError, match="of token 9"):
        one(SpellingIds((1,), (8, 9)), {1: -1.0}, {8: -1.0, 9: value})
