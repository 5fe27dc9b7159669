"""All ways of one layer's attention compute the same, in float32 on a CPU, and the rule of a packed row is its mask."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.gpu.attention import TINY, cases, packed_row, rule_of, ways

CPU = torch.device("cpu")


def test_the_rule_of_a_packed_row_is_its_mask() -> None:
    row = packed_row(TINY)
    num_rows, num_columns = row.visible.shape
    index = torch.arange(num_rows)[:, None].expand(num_rows, num_columns)
    column = torch.arange(num_columns)[None].expand(num_rows, num_columns)
    nothing = torch.zeros(())
    assert torch.equal(rule_of(row, CPU)(nothing, nothing, index, column), torch.from_numpy(row.visible))
    assert row.num_shared == TINY.num_tokens
    # Cuts lie all over the trace, so that rows differ in what they see of it.
    assert len(set(row.visible[:, : row.num_shared].sum(axis=1).tolist())) == 9


@pytest.mark.parametrize("name", ["last chunk", "packed suffixes"])
def test_a_block_mask_and_none_at_all_give_what_the_dense_mask_gives(name: str) -> None:
    [case] = [each for each in cases(TINY, CPU, torch.float32) if each.name == name]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # uncompiled, which serves to compare
        found = {way: attend() for way, attend in ways(case, CPU).items()}
    assert len(found) == (3 if name == "last chunk" else 2)
    for output in found.values():
        torch.testing.assert_close(output, found["dense mask"], atol=1e-5, rtol=1e-5)
    # A mask that lets all be seen would show.
    keys, values = (states.repeat_interleave(2, dim=1) for states in (case.key, case.value))
    unmasked = torch.nn.functional.scaled_dot_product_attention(case.query, keys, values)
    assert (unmasked - found["dense mask"]).abs().max() > 0.1
