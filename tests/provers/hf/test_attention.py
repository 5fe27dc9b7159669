"""Capped scores and sinks, against the same arithmetic written out."""

from __future__ import annotations

import math

import pytest
import torch

from mrt_reward.provers.hf import attention
from mrt_reward.provers.hf.attention import is_unusual, unusual_attention


def states(num_heads: int, num_tokens: int) -> torch.Tensor:
    return torch.randn(2, num_heads, num_tokens, 8)


def test_only_caps_and_sinks_are_unusual() -> None:
    assert is_unusual({"softcap": 50.0})
    assert is_unusual({"s_aux": torch.zeros(4)})
    assert not is_unusual({"softcap": None, "s_aux": None, "scaling": 0.5, "sliding_window": 8})


def test_a_sink_takes_its_share_and_a_cap_bounds_the_scores_by_hand() -> None:
    # One head, two columns with scores 0 and 2·ln 3: capped at 1e9 they stay, and a sink of ln 2 makes 1 : 9 : 2.
    query = torch.tensor([[[[1.0]]]])
    key = torch.tensor([[[[0.0], [2 * math.log(3)]]]])
    value = torch.tensor([[[[12.0], [24.0]]]])
    kwargs = {"scaling": 1.0, "softcap": 1e9, "s_aux": torch.tensor([math.log(2)])}
    output, _ = unusual_attention(query, key, value, None, kwargs)
    assert output.item() == pytest.approx(12 * 1 / 12 + 24 * 9 / 12, rel=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 2048])
@pytest.mark.parametrize("masked", ["none", "boolean", "additive"])
def test_without_cap_and_sink_it_is_scaled_dot_product_attention(
    masked: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However many rows are looked at together.
    monkeypatch.setattr(attention, "ROWS", rows)
    torch.manual_seed(0)
    query, key, value = states(4, 3), states(2, 5), states(2, 5)
    seen = torch.ones(3, 5, dtype=torch.bool).tril(2)
    mask = {"none": None, "boolean": seen, "additive": torch.zeros(3, 5).masked_fill(~seen, -torch.inf)}[masked]
    output, _ = unusual_attention(query, key, value, mask if mask is None else mask[None, None], {"softcap": None})
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=seen
    )
    torch.testing.assert_close(output, expected.transpose(1, 2))


def test_a_deep_sink_changes_nothing_and_a_high_one_takes_all() -> None:
    torch.manual_seed(0)
    query, key, value = states(2, 4), states(2, 4), states(2, 4)
    plain, _ = unusual_attention(query, key, value, None, {"softcap": 1e9})
    deep, _ = unusual_attention(query, key, value, None, {"s_aux": torch.full((2,), -1e4)})
    high, _ = unusual_attention(query, key, value, None, {"s_aux": torch.full((2,), 1e4)})
    torch.testing.assert_close(deep, plain, atol=1e-5, rtol=1e-5)
    assert not high.any()
