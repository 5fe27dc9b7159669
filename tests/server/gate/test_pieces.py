"""Reading JSON piece by piece gives what reading it in one go gives."""

from __future__ import annotations

import json

import jiter
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mrt_reward.server.gate import pieces
from mrt_reward.server.gate.pieces import PIECE_BYTES, PIECE_MARKS, Broken, read

TEXT = st.text(alphabet='a,:[]{}"\\\n\u00e9\u6f22\U0001f600\x01 ')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)
TINY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=[(20, 3), (40, 1_000), (1_000, 2)], ids=str)
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that every text is cut."""
    num_bytes, num_marks = request.param
    monkeypatch.setattr(pieces, "PIECE_BYTES", num_bytes)
    monkeypatch.setattr(pieces, "PIECE_MARKS", num_marks)


def _at_once(text: bytes) -> object:
    try:
        return jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return "refused"


def _in_pieces(text: bytes) -> object:
    try:
        return read(text)
    except Broken:
        return "refused"


@pytest.mark.usefixtures("tiny")
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
@TINY
def test_what_is_json_is_read_as_it_is(value: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read(text) == json.loads(text)


@pytest.mark.usefixtures("tiny")
@given(VALUES, st.data())
@TINY
def test_what_is_not_json_is_refused_and_nothing_else_is(value: object, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode()
    at = data.draw(st.integers(0, len(text)))
    put = data.draw(
        st.sampled_from([b"", b",", b"]", b"[", b"}", b"{", b'"', b"\\", b":", b" ", b"1", b"\xff", b"\\u"])
    )
    broken = text[:at] + put + text[at + data.draw(st.integers(0, 3)) :]
    assert _in_pieces(broken) == _at_once(broken)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ]",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, , 10, 11, 12]",
        "[11111111111111111111111111111] [2]",
        "[[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 12]",
        '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "a": 6}',
        '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "\\u0061": 6}',
        '{"a": 1, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "c": 3}',
        '{"a": 1, 1111111111111111111111111111111111111111111111: [1, 2, 3]}',
        '{"a": 1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]: 1}',
        '{"a": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] 7}',
        '["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" "bbbbbbbbbbbbbbbbbbbbbbbbbbbb"]',
        '"aaaaaaaaaaaaaaaaaaaaa\\ud83daaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
        '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
        "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "                                                        ",
        "[NaN, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]",
        "nulllllllllllllllllllllllllllllllllllllllllllllllllllll",
    ],
)
def test_what_breaks_only_where_pieces_meet_is_refused(text: str) -> None:
    with pytest.raises(Broken):
        read(text.encode())


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("text", ["[" + " " * 80 + "]", "{" + " " * 80 + "}", " " * 80 + "1" + " " * 80, "7" * 80])
def test_white_space_and_long_numbers_are_read(text: str) -> None:
    assert read(text.encode()) == json.loads(text)


@pytest.mark.usefixtures("tiny")
@given(st.text(alphabet='a\\"\n\u00e9\u6f22\U0001f600\x01u', min_size=20, max_size=120), st.booleans())
@example("\\" * 99, True)
@example("\U0001f600" * 40, True)
@TINY
def test_long_strings_are_cut_within_no_escape_and_no_character(value: str, ascii_only: bool) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_nothing_larger_than_a_piece_is_parsed_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    parse = pieces._parsed

    def measured(piece: bytes, reported: bytes, start: int) -> object:
        sizes.append(len(piece))
        return parse(piece, reported, start)

    monkeypatch.setattr(pieces, "_parsed", measured)
    value = {"traces": [{"id": "a", "text": "\u00e9\n" * 500_000}, [[]] * 2 * PIECE_MARKS], "m": {"k" * PIECE_BYTES: 1}}
    assert read(json.dumps(value).encode()) == value
    assert len(sizes) > 8
    assert max(sizes) <= PIECE_BYTES + 2


def test_an_error_says_where_it_is_counted_from() -> None:
    text = b'["' + b"a" * PIECE_BYTES + b'", ' + b"1," * PIECE_MARKS + b" nul]"
    with pytest.raises(Broken) as broken:
        read(text)
    assert PIECE_BYTES < broken.value.start < len(text)
    assert broken.value.piece in text
