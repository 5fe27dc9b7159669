from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof
from mrt_reward.provers.openai.speaking import NOTES, FoundLookup, LikelihoodWay, terminated_prefixes


def test_prefixes_are_terminated_and_their_longest_comes_first() -> None:
    # The suffix of the shortest cut makes it as long as the next one: 1 + 3 against 3 + 1.
    probes = (Probe(1, (7, 8, 9)), Probe(3, (7,)), Probe(4, (7, 8)))
    proof = Proof(np.array([1, 2, 3, 4], np.int32), probes, LikelihoodQuery(()))
    prefixes, longest_first = terminated_prefixes(proof)
    assert prefixes == [[1, 7, 8, 9], [1, 2, 3, 7], [1, 2, 3, 4, 7, 8]]
    assert longest_first == [2, 0, 1]


def test_tokens_are_looked_up_for_all_probes_and_a_missing_one_is_named() -> None:
    found = {(0, -1, 5): -1.0, (1, -1, 5): -2.0, (0, -1, 6): -3.0, (1, -1, 6): -4.0, (0, 0, 5): -5.0}
    lookup = FoundLookup(found, 2)
    assert lookup(-1, [6, 5]).tolist() == [[-3.0, -1.0], [-4.0, -2.0]]
    with pytest.raises(ProverError, match="token 5 and did not return it"):
        lookup(0, [5])


def test_every_way_says_what_a_reader_should_know() -> None:
    assert set(NOTES) == set(LikelihoodWay)
    assert "rollouts" in NOTES[LikelihoodWay.NONE]
    assert NOTES[LikelihoodWay.TAIL] == ""
