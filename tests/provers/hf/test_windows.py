"""What the layers of a model see of the past, read off its settings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mrt_reward.provers.hf.windows import ALIKE, shortened, windows_of, within


@pytest.mark.parametrize(
    ("settings", "windows"),
    [
        ({}, {ALIKE: None}),
        ({"sliding_window": None}, {ALIKE: None}),
        ({"sliding_window": 8}, {ALIKE: 8}),
        ({"layer_types": ["full_attention"] * 2, "sliding_window": 8}, {"full_attention": None}),
        (
            {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
            {"full_attention": None, "sliding_attention": 8},
        ),
        ({"attention_chunk_size": 8}, None),
        ({"layer_types": ["linear_attention", "full_attention"]}, None),
    ],
)
def test_windows_are_those_of_each_kind_of_layer(settings: dict[str, object], windows: object) -> None:
    assert windows_of(SimpleNamespace(**settings)) == windows


def test_a_token_sees_as_many_as_the_window_holds_and_itself_among_them() -> None:
    # Token 5 sees 3, 4 and 5 through a window of 3; what comes later is for the causal condition to hide.
    seen = within(3, torch.tensor([2, 5]), torch.arange(7))
    assert seen.tolist() == [[True] * 7, [False, False, False, True, True, True, True]]


def test_windows_are_shortened_for_a_while_and_never_lengthened() -> None:
    config = SimpleNamespace(sliding_window=4096, attention_chunk_size=8, other=None)
    with shortened(config, 12):
        assert (config.sliding_window, config.attention_chunk_size) == (12, 8)
    assert (config.sliding_window, config.attention_chunk_size) == (4096, 8)
    none = SimpleNamespace(sliding_window=None)
    with shortened(none, 12):
        assert none.sliding_window is None
