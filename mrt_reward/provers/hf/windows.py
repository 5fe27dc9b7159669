"""What the layers of a model see of the past: all of it, or a window of the last tokens.

transformers names the kind of each layer, and a model whose layers differ takes a mask for each kind.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor

ALIKE = "all"
"""The kind of all layers, of a model that does not tell them apart."""

Windows = Mapping[str, int | None]
"""For each kind of layer how many tokens it sees, the own one included; None is all."""

FULL: Windows = {ALIKE: None}

_LENGTHS = ("sliding_window", "attention_chunk_size")


def windows_of(config: Any) -> Windows | None:  # noqa: ANN401 - transformers' own
    """The windows of a model's layers; None where a layer keeps something other than the keys and values of its past.

    Args:
        config: of the model that reads text.

    """
    kinds = cast("list[str] | None", getattr(config, "layer_types", None))
    window = cast("int | None", getattr(config, "sliding_window", None))
    if kinds is None:
        return None if getattr(config, "attention_chunk_size", None) else {ALIKE: window}
    known = {"full_attention": None, "sliding_attention": window}
    if not known.keys() >= set(kinds):
        return None
    return {kind: known[kind] for kind in sorted(set(kinds))}


def within(window: int, positions: Tensor, columns: Tensor) -> Tensor:
    """Whether the token at a position sees a column: neither is older than the window; shape (rows, columns)."""
    return positions[:, None] - columns < window


@contextmanager
def shortened(config: Any, length: int) -> Generator[None]:  # noqa: ANN401 - transformers' own
    """Cut all windows to this many tokens for a while, so that a short trace is enough to show whether they are kept.

    transformers reads them from the settings whenever it makes a mask or a cache.
    """
    own = {name: getattr(config, name) for name in _LENGTHS if getattr(config, name, None)}
    for name, tokens in own.items():
        setattr(config, name, min(tokens, length))
    try:
        yield
    finally:
        for name, tokens in own.items():
            setattr(config, name, tokens)
