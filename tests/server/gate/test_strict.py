"""What counts as JSON."""

from __future__ import annotations

import pytest

from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.strict import parsed


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"traces": [{"id": "x", "metadata": {"m": 1, "m": 2}}]}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b"[NaN]", "NaN is not"),
        (b"[-Infinity]", "Infinity is not"),
        (b"[1e999]", "too large"),
        (b"[-1E+400]", "too large"),
        (b"[1" + b"0" * 400 + b".5]", "too large"),
        (b"[1" + b"0" * 309 + b"]", "too large"),
        (b'{"metadata": {"x": [-' + b"9" * 4000 + b"]}}", "too large"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\\udc00 x"]', "surrogate"),
        (b'["\xff"]', "not UTF-8"),
        (b'["\xed\xa0\x80"]', "not UTF-8"),
        (b"[1] [2]", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"['a']", "not JSON"),
        (b"[01]", "not JSON"),
        (b'["a\nb"]', "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_what_is_not_strictly_json_is_reported(body: bytes, message: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parsed(body)
    assert refused.value.status_code == 400
    assert message in refused.value.detail


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, "1e999", null, true]}', {"a": [1, 2.5, "1e999", None, True]}),
        (b'["\\ud83d\\ude00", "\\u0000", "NaN"]', ["\U0001f600", "\x00", "NaN"]),
        (b"[1e300, 12345678901234567890]", [1e300, 12345678901234567890]),
        (b"[1" + b"0" * 308 + b"]", [10**308]),
        (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
    ],
)
def test_what_is_json_is_read_as_it_is(body: bytes, value: object) -> None:
    assert parsed(body) == value
