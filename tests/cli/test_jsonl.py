from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrt_reward.cli.jsonl import FileRow, read_rows


def rows_of(folder: Path, *lines: str | bytes) -> list[FileRow]:
    path = folder / "in.jsonl"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return list(read_rows(path))


def line(answer: str) -> str:
    return rf'{{"problem": "p?", "completion": "\\boxed{{42}}", "answer": {answer}}}'


@pytest.mark.parametrize(
    ("written", "golds"),
    [
        ('"42"', ("42",)),
        ("42", ("42",)),
        ('["42", 43]', ("42", "43")),
        ("0.00001", ("0.00001",)),
        ("1e-05", ("0.00001",)),
        ("1.50", ("1.50",)),
        ("1e16", ("10000000000000000",)),
        ("6.02E23", ("602000000000000000000000",)),
        ("1234567890123456", ("1234567890123456",)),
        ("12345678901234567890123", ("12345678901234567890123",)),
        ("0.1234567890123456789", ("0.1234567890123456789",)),
        ("[0.10, 1.0]", ("0.10", "1.0")),
        (r'"[\"42\"]"', ("42",)),
        ("null", ()),
        ("NaN", ()),
        ('""', ()),
    ],
)
def test_a_gold_keeps_the_digits_that_its_line_has(written: str, golds: tuple[str, ...], tmp_path: Path) -> None:
    [row] = rows_of(tmp_path, line(written))
    assert row.trace is not None, row.error
    assert row.trace.answer == golds


@pytest.mark.parametrize(
    "written", ["[null]", "[NaN]", "Infinity", "-Infinity", '{"value": 42}', "true", "[false]", '[["42"]]', '["1", {}]']
)
def test_a_gold_of_another_type_is_an_error_of_its_line(written: str, tmp_path: Path) -> None:
    bad, good = rows_of(tmp_path, line(written), line("42"))
    assert bad.trace is None
    assert bad.error is not None
    assert bad.error.param == "answer"
    assert str(bad.error).startswith("line 1, answer: expected a gold answer as text or a finite number")
    assert good.trace is not None


def test_a_key_that_stands_twice_is_an_error_of_its_line(tmp_path: Path) -> None:
    twice, nested, good = rows_of(
        tmp_path,
        '{"problem": "p?", "completion": "a", "answer": "1", "answer": "2"}',
        '{"problem": "p?", "completion": "a", "metadata": {"a": 1, "a": 2}}',
        line("42"),
    )
    assert 'line 1 is not JSON: Detected duplicate key "answer" at column' in str(twice.error)
    assert 'line 2 is not JSON: Detected duplicate key "a"' in str(nested.error)
    assert good.trace is not None


def test_a_line_that_is_not_utf8_is_said_and_never_scored(tmp_path: Path) -> None:
    bad, good = rows_of(tmp_path, '{"problem": "café?", "completion": "a"}'.encode("latin-1"), line("42"))
    assert (bad.id, bad.trace) == ("line-1", None)
    assert "line 1 is not UTF-8 (at character 16): write the file as UTF-8" in str(bad.error)
    assert good.trace is not None


def test_a_byte_order_mark_at_the_start_is_dropped(tmp_path: Path) -> None:
    [row] = rows_of(tmp_path, b"\xef\xbb\xbf" + line('"\ufeff42"').encode())
    assert row.trace is not None
    assert row.trace.answer == ("\ufeff42",)  # a mark elsewhere is text


def test_other_columns_hold_plain_json(tmp_path: Path) -> None:
    fields = '"outcome": 0.50, "metadata": {"x": [1.5, NaN]}, "level": 2.50, "huge": 1e999, "none": -Infinity}'
    [row] = rows_of(tmp_path, '{"problem": "p?", "completion": "a", ' + fields)
    assert row.trace is not None, row.error
    assert (row.trace.outcome, row.trace.metadata) == (0.5, {"x": [1.5, None]})
    assert row.extra == {"level": 2.5, "huge": "1e999", "none": None}
    assert json.dumps(dict(row.extra), allow_nan=False)


def test_an_outcome_too_large_for_a_number_is_refused(tmp_path: Path) -> None:
    [row] = rows_of(tmp_path, '{"problem": "p?", "completion": "a", "outcome": 1e999}')
    assert row.trace is None
    assert row.error is not None
    assert row.error.param == "outcome"


def test_offsets_under_the_name_that_they_had_are_refused_with_the_new_one(tmp_path: Path) -> None:
    trace = {"problem": "p?", "completion": "c"}
    reported, renamed, scored = rows_of(
        tmp_path,
        json.dumps({**trace, "episodes": [0, 5]}),
        json.dumps({**trace, "episode_starts": [0, 5]}),
        json.dumps({**trace, "episodes": [{"char_start": 0, "char_end": 1}]}),
    )
    assert reported.error is not None
    assert "episode_starts" in str(reported.error)
    assert renamed.trace is not None
    assert renamed.trace.episode_starts == (0, 5)
    # What scoring wrote passes through, as any column of another's.
    assert (scored.error, list(scored.extra)) == (None, ["episodes"])
