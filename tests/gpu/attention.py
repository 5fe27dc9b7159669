"""Ways to compute the attention of one layer over a long trace: a dense mask, as the engine does, and two without one.

The engine's packed passes are small (`MAX_MASK_ELEMENTS`), and its first pass over a trace needs no mask. What a block
mask would save in them, and in passes after the first, is measured here before anything is built on it.

Dimension key: H query heads · K key heads · R rows · N columns · D head size · Q packed tokens.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from mrt_reward.protocols import Probe, SpellingIds
from mrt_reward.provers.hf.packing import PackedRow, pack
from mrt_reward.provers.likelihood import spelling_tree
from tests.gpu.report import Figure

REPEATS = 20
MAX_ERROR = 0.02
"""Of a way in bfloat16, over the size of what float32 gives; bfloat16 itself is off by 0.002 to 0.01."""


@dataclass(frozen=True)
class Shape:
    """Of one layer, and of the trace that it reads.

    Attributes:
        heads: H and K.
        size: D.
        num_tokens: of the trace.
        chunk: rows of a pass over it.
        num_suffix: tokens of a suffix; there are nine.

    """

    heads: tuple[int, int] = (16, 8)
    size: int = 128
    num_tokens: int = 16_000
    chunk: int = 2048
    num_suffix: int = 16


FULL, TINY = Shape(), Shape((4, 2), 16, 300, 70, 5)


@dataclass(frozen=True)
class Case:
    """One pass.

    Attributes:
        name: which.
        query: (1, H, R, D), scaled by nothing.
        key: (1, K, N, D).
        value: like `key`.
        visible: (R, N).
        seen: the same as a rule, (batch, head, row, column) to whether it is seen.

    """

    name: str
    query: Tensor
    key: Tensor
    value: Tensor
    visible: Tensor
    seen: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def packed_row(shape: Shape) -> PackedRow:
    """What nine cuts of a trace are asked."""
    cuts = np.linspace(1, shape.num_tokens, 9).astype(int).tolist()
    tree = spelling_tree((SpellingIds((1, 2, 3), (4,)), SpellingIds((1, 5), (4,))))
    [row] = pack([Probe(cut, (7,) * shape.num_suffix) for cut in cuts], tree, 1000)
    return row


def cases(shape: Shape, device: torch.device, dtype: torch.dtype) -> list[Case]:
    """The last chunk of a trace, and the packed pass after it."""
    start = shape.num_tokens - shape.chunk
    rows = torch.arange(start, shape.num_tokens, device=device)
    visible = torch.arange(shape.num_tokens, device=device) <= rows[:, None]
    row = packed_row(shape)
    return [
        _case("last chunk", shape, visible, lambda _b, _h, q, n: n <= q + start, dtype),
        _case("packed suffixes", shape, _on(row.visible, device), rule_of(row, device), dtype),
    ]


def rule_of(row: PackedRow, device: torch.device) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Who sees whom in a packed row: each row the trace up to its cut, and its own ancestors."""
    num_shared = row.num_shared
    cut_Q = _on(row.visible[:, :num_shared].sum(axis=1), device)
    own_QQ = _on(row.visible[:, num_shared:].copy(), device)

    def seen(_batch: Tensor, _head: Tensor, row_index: Tensor, column: Tensor) -> Tensor:
        on_trace = (column < num_shared) & (column < cut_Q[row_index])
        return on_trace | ((column >= num_shared) & own_QQ[row_index, (column - num_shared).clamp(min=0)])

    return seen


def ways(case: Case, device: torch.device) -> Mapping[str, Callable[[], Tensor]]:
    """Each computes (1, H, R, D)."""
    num_rows, num_columns = case.visible.shape
    # Compiled on a GPU; uncompiled it holds all scores, and serves to be compared.
    flex: Any = torch.compile(flex_attention) if device.type == "cuda" else flex_attention
    additive = torch.zeros(case.visible.shape, dtype=case.query.dtype, device=device)
    additive.masked_fill_(~case.visible, -torch.inf)
    attend: Any = torch.nn.functional.scaled_dot_product_attention
    # Made once for all layers of a pass, as the dense mask is.
    blocks = functools.cache(lambda: _blocks(case, device))
    found: dict[str, Callable[[], Tensor]] = {
        "dense mask": lambda: attend(case.query, *_repeated(case), attn_mask=additive[None, None]),
        "block mask, compiled" if device.type == "cuda" else "block mask": lambda: flex(
            case.query, case.key, case.value, block_mask=blocks(), enable_gqa=True
        ),
    }
    if case.name == "last chunk":
        bias = causal_lower_right(num_rows, num_columns)
        found["causal, no mask"] = lambda: attend(case.query, *_repeated(case), attn_mask=bias)
    return found


async def measured(shape: Shape, device: torch.device) -> AsyncIterator[Figure]:
    """Milliseconds, memory and errors of every way, in bfloat16.

    Raises:
        RuntimeError: after all others, that some ways cannot run here.

    """
    failed: list[str] = []
    for case in cases(shape, device, torch.bfloat16):
        exact = _exact(case)
        for name, way in ways(case, device).items():
            try:
                yield _figure(f"{case.name}: {name}", way, exact, device)
            except Exception as error:  # noqa: BLE001, PERF203 - told below; a compiler may fail in any manner
                failed.append(f"{case.name}, {name}: {type(error).__name__}: {str(error)[:200]}")
    if failed:
        raise RuntimeError("; ".join(failed))


def _figure(name: str, way: Callable[[], Tensor], exact: Tensor, device: torch.device) -> Figure:
    with warnings.catch_warnings(), torch.inference_mode():
        # Uncompiled it warns that it is slow, and compiled of what the compiler does not know.
        warnings.simplefilter("ignore")
        output = way().float()
        error = float((output - exact).norm() / exact.norm())
        cuda = device.type == "cuda"
        times: list[float] = []
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) if cuda else 0
        for _ in range(REPEATS if cuda else 1):
            began = time.perf_counter()
            way()
            if cuda:
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
        peak = torch.cuda.max_memory_allocated(device) - before if cuda else 0
    return Figure(
        "one layer", name, 1000 * float(np.median(times)), "ms",
        f"{peak / 1e6:.0f} MB on top; off float32 by {error:.2g}, at most {MAX_ERROR:g}", error <= MAX_ERROR,
    )  # fmt: skip


def _exact(case: Case) -> Tensor:
    with torch.inference_mode():
        key, value = (states.float() for states in _repeated(case))
        scores = case.query.float() @ key.transpose(-1, -2) / case.query.shape[-1] ** 0.5
        return scores.masked_fill(~case.visible, -torch.inf).softmax(dim=-1) @ value


def _repeated(case: Case) -> tuple[Tensor, Tensor]:
    """Keys and values for each query head, as a masked call wants them."""
    times = case.query.shape[1] // case.key.shape[1]
    return case.key.repeat_interleave(times, dim=1), case.value.repeat_interleave(times, dim=1)


def _blocks(case: Case, device: torch.device) -> BlockMask:
    num_rows, num_columns = case.visible.shape
    return create_block_mask(case.seen, None, None, num_rows, num_columns, device=str(device))


def _case(name: str, shape: Shape, visible: Tensor, seen: Any, dtype: torch.dtype) -> Case:
    (num_heads, num_key_heads), size = shape.heads, shape.size
    num_rows, num_columns = visible.shape
    draws = torch.Generator(visible.device).manual_seed(0)

    def drawn(heads: int, length: int, scale: float) -> Tensor:
        states = torch.randn(1, heads, length, size, generator=draws, device=visible.device)
        return (scale * states).to(dtype)

    # Scores of deviation 4: a few columns have most of the weight.
    query, key, value = (
        drawn(num_heads, num_rows, 4.0),
        drawn(num_key_heads, num_columns, 1.0),
        drawn(num_key_heads, num_columns, 1.0),
    )
    return Case(name, query, key, value, visible, seen)


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)  # pyright: ignore[reportUnknownMemberType] - partial
