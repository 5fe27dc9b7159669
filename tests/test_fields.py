"""How fields of records are read from JSON: ids as lists or base64, text of ids, gold answers."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mrt_reward.errors import TraceError
from mrt_reward.fields import encode_ids, id_text, ids_of, session_text
from mrt_reward.types import Trace

TRACE: TypeAdapter[Trace] = TypeAdapter(Trace)


def test_ids_are_base64_of_little_endian_int32() -> None:
    # 1 and 258 = 0x0102 in four bytes each, low byte first.
    assert encode_ids(np.array([1, 258], np.int32)) == base64.b64encode(b"\1\0\0\0\2\1\0\0").decode()


@given(st.lists(st.integers(0, 2**31 - 1), max_size=20))
def test_ids_are_the_same_as_base64_as_a_list_and_as_an_array(ids: list[int]) -> None:
    text = encode_ids(np.array(ids, np.int32))
    for given_ids in (ids, text, np.array(ids, np.int64), tuple(ids)):
        found = ids_of(given_ids)
        assert (found.tolist(), found.dtype) == (ids, np.int32)
        read = TRACE.validate_python({"id": "t", "completion_ids": given_ids}).completion_ids
        assert read is not None
        assert read.tolist() == ids


@pytest.mark.parametrize("text", ["AAA", "AAAA", "AAAAAAAA", "!!!!", "AAAAAAA=", "/////w=="])
def test_what_is_no_base64_of_ids_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValidationError, match="prompt_ids"):
        TRACE.validate_python({"id": "t", "prompt_ids": text})


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, True], "True at index 1"),
        ([1.0], "1.0 at index 0"),
        ([0, None], "None at index 1"),
        ([[1]], r"\[1\] at index 0"),
        ([-1, 5], "from 0 to 2147483647, got -1 to 5"),
        ([2**31], "got 2147483648 to 2147483648"),
        ([10**30], "from 0 to 2147483647"),
        (np.zeros(2), "ndarray"),
        (np.zeros((1, 2), np.int32), "ndarray"),
        (7, "int"),
        (b"AAAA", "bytes"),
    ],
)
def test_what_is_no_list_of_ids_is_reported(ids: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        ids_of(ids)


def test_a_long_text_is_shown_in_part() -> None:
    with pytest.raises(TraceError) as caught:
        ids_of("!" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("given_id", "expected"), [(7, "7"), ("7", "7"), (True, True), (None, None), (7.5, 7.5)])
def test_an_id_that_is_a_whole_number_is_its_text(given_id: object, expected: object) -> None:
    assert id_text(given_id) is expected or id_text(given_id) == expected


def test_a_gold_that_is_no_answer_names_its_field_once() -> None:
    with pytest.raises(ValidationError) as caught:
        TRACE.validate_python({"id": "t", "answer": True})
    assert caught.value.errors()[0]["loc"] == ("answer",)


def test_ids_are_written_as_base64_in_json_and_stay_arrays_in_python() -> None:
    trace = Trace("t", prompt_ids=np.array([1], np.int32))
    assert TRACE.dump_python(trace, mode="json")["prompt_ids"] == "AQAAAA=="
    assert isinstance(TRACE.dump_python(trace)["prompt_ids"], np.ndarray)


@pytest.mark.parametrize("session", [None, "http://10.0.0.1:41", "x" * 200])
def test_a_session_is_what_a_header_can_carry(session: str | None) -> None:
    assert session_text(session) == session


@pytest.mark.parametrize("session", ["", "a b", "a\r\nX-Other: 1", "é", "x" * 201])
def test_a_session_that_no_header_can_carry_is_refused(session: str) -> None:
    with pytest.raises(TraceError, match="1 to 200 printable ASCII characters"):
        session_text(session)
    with pytest.raises(ValidationError, match="1 to 200 printable ASCII characters"):
        TRACE.validate_python({"id": "t", "problem": "x", "completion": "y", "session": session})


def test_records_do_not_load_what_reads_them() -> None:
    code = "import sys, mrt_reward.types, mrt_reward.core.credit; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
