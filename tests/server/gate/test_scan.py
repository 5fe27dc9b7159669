"""Counting JSON while it arrives."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.scan import MAX_ITEMS, MAX_KEYS, JSONScan, scanned
from mrt_reward.wire import MAX_DEPTH

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a,:[]{}"\\\n\u00e9'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='k"\\,:'), inner, max_size=4),
    max_leaves=20,
)


def _marks(value: object) -> int:
    """Commas and openers that JSON text of this value has outside of strings."""
    if isinstance(value, dict | list):
        children = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(0, len(children) - 1) + sum(map(_marks, children))
    return 0


@given(values, st.integers(1, 7), st.booleans())
def test_what_is_between_quotes_never_counts_however_the_text_is_cut(
    value: object, size: int, ascii_only: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    scan = JSONScan()
    for start in range(0, len(text), size):
        scan.feed(text[start : start + size])
    assert scan.num_items == _marks(value) == scanned(text).num_items


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"[" + b"[]," * MAX_ITEMS, 413),
        (b"[" + b"{}," * MAX_ITEMS, 413),
        (b'["' + b'","' * (MAX_ITEMS + 1), 413),
        (b"{" + b'"a":1,' * (MAX_KEYS + 1), 413),
        (b"[" * (MAX_DEPTH + 1), 400),
        (b'{"a":' * (MAX_DEPTH + 1), 400),
    ],
)
def test_too_much_of_anything_is_refused(text: bytes, status: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        scanned(text)
    assert refused.value.status_code == status


def test_as_much_as_is_allowed_passes() -> None:
    assert scanned(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).num_items == MAX_DEPTH
    assert scanned(b'"' + b"[{,:" * 1_000_000 + b'"').num_items == 0


@pytest.mark.parametrize("text", [b" ", b'"', b"\\", b"\\\\", b"1", b"e1", b'"",'], ids=repr)
def test_counting_takes_time_in_proportion_to_the_text(text: bytes) -> None:
    def seconds(num_bytes: int) -> float:
        body = text * (num_bytes // len(text))
        began = time.process_time()
        scanned(body[: MAX_ITEMS - 1] if b"," in text else body)
        return time.process_time() - began

    # Ten times the text; quadratic work would take a hundred times as long.
    assert seconds(4_000_000) < 40 * max(seconds(400_000), 0.002)
