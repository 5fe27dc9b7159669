"""Which probes share a pass, and who sees whom in it, by hand. No network is needed."""

from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.protocols import Probe, SpellingIds
from mrt_reward.provers.hf import packing
from mrt_reward.provers.hf.packing import pack
from mrt_reward.provers.likelihood import NO_SPELLINGS, spelling_tree


def test_a_probe_sees_its_prefix_and_its_own_ancestors_only() -> None:
    # Two probes at 1 and 3 of a trace; the tree is 7, then 8 or 9 after it.
    tree = spelling_tree((SpellingIds((7, 8), (1,)), SpellingIds((7, 9), (1,))))
    [row] = pack([Probe(1, (5,)), Probe(3, (5, 6))], tree, vocab_size=10)
    assert row.ids.tolist() == [5, 7, 8, 9, 5, 6, 7, 8, 9]
    # As in the terminated prefix alone: both leaves stand at the same position.
    assert row.positions.tolist() == [1, 2, 3, 3, 3, 4, 5, 6, 6]
    assert row.num_shared == 3
    # For each probe the suffix's last row, then its nodes.
    assert row.logit_rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    expected = [
        # three columns of the trace, then the first block's four, then the second's five
        [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1],
    ]
    assert row.visible.astype(int).tolist() == expected


@pytest.mark.parametrize("limit", ["MAX_MASK_ELEMENTS", "MAX_LOGIT_ELEMENTS"])
@pytest.mark.parametrize("size", [1, 60, 200])
def test_passes_keep_to_the_limits_and_hold_every_probe_once_in_order(
    monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    monkeypatch.setattr(packing, limit, size)
    probes = [Probe(2 + index, (5, 6)) for index in range(7)]
    rows = list(pack(probes, NO_SPELLINGS, vocab_size=30))
    assert [index for row in rows for index in row.probes] == list(range(7))
    for row in rows:
        used = row.visible.size if limit == "MAX_MASK_ELEMENTS" else 30 * len(row.logit_rows)
        # A probe that is too large alone still goes, alone.
        assert used <= size or len(row.probes) == 1
    assert len(rows) == 7 if size == 1 else len(rows) < 7


def test_the_mask_of_a_row_is_causal_within_every_suffix() -> None:
    probes = [Probe(4, (1, 2, 3)), Probe(9, (1,))]
    [row] = pack(probes, NO_SPELLINGS, vocab_size=10)
    # Each token sees its prefix and itself: as many as its position and one.
    assert row.visible.sum(axis=1).tolist() == (row.positions + 1).tolist()
    assert np.array_equal(row.logit_rows, [2, 3])
