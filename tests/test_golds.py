"""What counts as a gold answer, at whatever entrance."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from mrt_reward.errors import TraceError
from mrt_reward.golds import MAX_GOLD_CHARS, MAX_GOLDS, golds_of, is_odd


@pytest.mark.parametrize(
    ("given", "golds"),
    [
        ("42", ("42",)),
        ("True", ("True",)),
        (42, ("42",)),
        (0.5, ("0.5",)),
        (["42", 42.0], ("42", "42.0")),
        (("1", 2), ("1", "2")),
        (Fraction(3, 4), ("3/4",)),
        (np.array(["a", "b"]), ("a", "b")),
        (np.array(7), ("7",)),
        (np.array([1, "x"], object), ("1", "x")),
        (np.int64(7), ("7",)),
        (np.str_("x"), ("x",)),
        (torch.tensor([1, 2]), ("1", "2")),
        (torch.tensor(3), ("3",)),
        ([3, "4", None], ("3", "4")),
        (np.array([1.0, np.nan]), ("1.0",)),
    ],
)
def test_a_gold_is_text_or_a_number_or_several_of_these(given: Any, golds: tuple[str, ...]) -> None:
    assert golds_of(given) == golds


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1e-05, "0.00001"),
        (1.2e-05, "0.000012"),
        (0.1, "0.1"),
        (1e16, "10000000000000000.0"),
        (np.float32(0.1), "0.1"),
        (np.array([0.1], np.float32), "0.1"),
        (np.float16(0.1), "0.1"),
        (1234567890123456, "1234567890123456"),
        (np.uint64(18446744073709551615), "18446744073709551615"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1e16"), "10000000000000000"),
        (Decimal("0.12345678901234567890123"), "0.12345678901234567890123"),
        (Decimal("1e999999"), "1E+999999"),
    ],
)
def test_numbers_keep_their_digits(given: Any, text: str) -> None:
    assert golds_of(given) == (text,)


@pytest.mark.parametrize(
    "given",
    [None, "", " \r\n", float("nan"), np.float32("nan"), Decimal("nan"), Decimal("snan"), [], [" "]],
)
def test_what_is_missing_is_no_gold(given: Any) -> None:
    assert golds_of(given) == ()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (True, "bool (True)"),
        (np.True_, "bool"),
        ([False], "bool (False)"),
        (torch.tensor(True), "bool"),
        ([None], "null"),
        ([float("nan")], "float (nan)"),
        (np.array([np.nan, np.nan]), "nan"),
        ([None, "1", {}], "dict"),
        (["1", True], "bool"),
        (float("inf"), "float (inf)"),
        (Decimal("-Infinity"), "Decimal"),
        ({"value": 42}, "dict ({'value': 42})"),
        ([{"a": 1}], "dict"),
        ([["1"]], "list"),
        (np.array([[1, 2]]), "ndarray"),
        (b"42", "bytes"),
        (1 + 2j, "complex"),
        ({1, 2}, "set"),
        (object, "type"),
    ],
)
def test_anything_else_is_refused_by_name(given: Any, named: str) -> None:
    with pytest.raises(TraceError) as caught:
        golds_of(given, param="labels.3")
    assert caught.value.param == "labels.3"
    assert str(caught.value).startswith("labels.3: expected a gold answer as text or a finite number")
    assert named in str(caught.value)


def test_too_many_and_too_long_golds_are_refused() -> None:
    assert len(golds_of(["1"] * MAX_GOLDS)) == MAX_GOLDS
    assert golds_of("x" * MAX_GOLD_CHARS)
    with pytest.raises(TraceError, match=f"at most {MAX_GOLDS} gold answers, got {MAX_GOLDS + 1}"):
        golds_of(["1"] * (MAX_GOLDS + 1))
    with pytest.raises(TraceError, match=f"at most {MAX_GOLD_CHARS} characters"):
        golds_of("x" * (MAX_GOLD_CHARS + 1))


@pytest.mark.parametrize(
    ("text", "golds"),
    [
        ('["42"]', ("42",)),
        (' ["3/4", "0.75"]\n', ("3/4", "0.75")),
        (r'["\\frac{1}{2}"]', (r"\frac{1}{2}",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[1,2)", ("[1,2)",)),
        ("[]", ("[]",)),
        ('["a", 1]', ('["a", 1]',)),
        (r'["\frac{1}{2}"]', (r'["\frac{1}{2}"]',)),
        ("[" * 5000 + "]" * 5000, ("[" * 5000 + "]" * 5000,)),
    ],
)
def test_a_list_of_texts_that_was_written_as_text_is_that_list(text: str, golds: tuple[str, ...]) -> None:
    assert golds_of(text) == golds


@pytest.mark.parametrize(
    ("spellings", "odd"),
    [
        ((), False),
        (("42",), False),
        ((r"\frac{\sqrt{2}}{2}", "x" * 200), False),
        ((r"\text{no real solution}", "no real solution"), False),
        (("there is no such number",), True),
        (("x" * 60,), False),
        (("x" * 61, "x" * 62), True),
        ((r"\sin x+\cos x+\tan x+\log x+\exp x",), False),
    ],
)
def test_a_gold_is_odd_whose_shortest_spelling_is_long_or_prose(spellings: tuple[str, ...], odd: bool) -> None:
    assert is_odd(spellings) is odd
