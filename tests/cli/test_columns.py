"""A file that cannot be used is refused before a model is loaded, with what was found and what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrt_reward.cli.columns import Problems, refuse_unanswered, refuse_unusable, renames_from
from mrt_reward.cli.jsonl import FileRow, read_rows
from mrt_reward.errors import ConfigError
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions

SAMPLED = ScoreOptions(estimator=Rollouts("rollouts"))


def rows_of(folder: Path, *records: object, renames: dict[str, str] | None = None) -> tuple[Path, list[FileRow]]:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path, list(read_rows(path, renames))


def refused(folder: Path, *records: object) -> str:
    path, rows = rows_of(folder, *records)
    with pytest.raises(ConfigError) as caught:
        refuse_unusable(path, rows)
    return str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "holds no row: expected a JSON object a line" in refused(tmp_path)


def test_columns_of_other_names_are_reported_with_the_flags_that_make_them_ours(tmp_path: Path) -> None:
    output = refused(tmp_path, {"question": "6 * 7?", "Response": "42", "label": "42", "level": 3})
    assert "none of 1 rows can be used" in output
    assert "found question, Response, label, level" in output
    assert "did you mean --map problem=question --map answer=label --map completion=Response?" in output


def test_a_misspelt_column_has_a_nearest_one(tmp_path: Path) -> None:
    assert "--map problem=problm --map completion=completions?" in refused(
        tmp_path, {"problm": "p", "completions": "c"}
    )


def test_no_column_is_proposed_twice(tmp_path: Path) -> None:
    logged = refused(tmp_path, {"query": "p", "solution": "42", "completions": "c"})
    assert "did you mean --map problem=query --map answer=solution --map completion=completions?" in logged
    with_both = refused(tmp_path, {"query": "p", "solution": "so it is 42", "answer": "42"})
    assert "did you mean --map problem=query --map completion=solution?" in with_both


def test_rows_that_are_scored_are_said_to_be(tmp_path: Path) -> None:
    scored = {"id": "1", "trace": {"problem": "p"}, "values": [], "episodes": [], "status": "ok"}
    assert "these rows are scored already: `mrt-reward report` reads them" in refused(tmp_path, scored)


def test_one_usable_row_is_enough_and_the_rest_is_not_read(tmp_path: Path) -> None:
    path, rows = rows_of(tmp_path, {"nothing": 1}, {"problem": "p", "completion": "c"})
    later = iter([*rows, *rows])
    refuse_unusable(path, later)
    assert len(list(later)) == 2


def test_a_mapped_column_is_read_as_ours(tmp_path: Path) -> None:
    renames = renames_from(["problem=question", "answer=meta"])
    assert renames == {"question": "problem", "meta": "answer"}
    record = {"question": "6 * 7?", "completion": "c", "meta": 42.0, "level": 1}
    path, [row] = rows_of(tmp_path, record, renames=renames)
    assert row.trace is not None
    assert (row.trace.problem, row.trace.answer, row.extra) == ("6 * 7?", ("42.0",), {"level": 1})
    [problem] = Problems(path, {"question": "problem", "completion": "ignored"}).rows()
    assert problem.trace is not None
    assert (problem.trace.problem, problem.trace.completion) == ("6 * 7?", None)


def test_a_column_that_would_be_there_twice_is_an_error_of_its_line(tmp_path: Path) -> None:
    record = {"question": "a", "problem": "b", "completion": "c"}
    _, [row] = rows_of(tmp_path, record, renames={"question": "problem"})
    assert row.trace is None
    assert "line 1 has a column problem of its own" in str(row.error)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("problem", "expected OURS=THEIRS"),
        ("problem=", "expected OURS=THEIRS"),
        ("problm=q", "did you mean 'problem'?"),
        ("question=problem", "the other way round, --map problem=question?"),
    ],
)
def test_a_map_that_names_no_column_of_ours_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        renames_from([word])
    assert message in str(caught.value)


def test_a_file_without_gold_answers_is_refused_where_they_are_needed(tmp_path: Path) -> None:
    path, rows = rows_of(tmp_path, {"problem": "p", "completion": "c", "target": "42"}, {"bad": 1})
    for options, grader, needs in (
        (ScoreOptions(), "math", "the estimator `likelihood`"),
        (SAMPLED, "exact", "the grader 'exact'"),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse_unanswered(path, rows, options, grader)
        reported = str(caught.value)
        assert f"no row has an `answer`, which {needs} needs" in reported
        assert reported.endswith("did you mean --map answer=target?")
        with pytest.raises(
            ConfigError, match=r"no row has a column 'meta.gold' with an answer, which .* at the top of a row"
        ):
            refuse_unanswered(path, rows, options, grader, {"meta.gold": "answer"})
    # A server of scores or a user's own function may need none, and a server chooses its grader itself.
    for grader in ("score:rewards:judge", "http://127.0.0.1:9", None):
        refuse_unanswered(path, rows, SAMPLED, grader)
    refuse_unanswered(path, rows, ScoreOptions(estimator=Likelihood(spellings=("42",))), "math")
    answered = rows_of(tmp_path, {"problem": "p", "completion": "c"}, {"problem": "p", "completion": "c", "answer": 1})
    refuse_unanswered(*answered, ScoreOptions(), "math")


def test_several_columns_in_one_flag_are_taken_apart_in_the_message() -> None:
    with pytest.raises(ConfigError, match=r"one column a flag: --map problem=q --map answer=a$"):
        renames_from(["problem=q,answer=a"])
    assert renames_from(["problem=q,a"]) == {"q,a": "problem"}
