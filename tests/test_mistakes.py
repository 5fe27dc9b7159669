"""What is wrong with data is said with its path in the data, what came, and the nearest word that may stand there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mrt_reward.config import ServeSettings
from mrt_reward.mistakes import MAX_NAME_CHARS, MAX_SHOWN, Mistake, did_you_mean, mistakes, nearest, path_of, shown
from mrt_reward.options import ScoreOptions
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire.routes import AdvantagesRequest, GetRewardRequest, ScoreRequest

TRACES = [{"id": "a", "problem": "q", "completion": "c"}]
SCORED = {"id": "a", "outcome": 1, "values": [], "status": "ok"}


def found_in(record: Any, data: object) -> list[Mistake]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(record).validate_python(data)
    return mistakes(caught.value.errors(include_url=False), record)


UNKNOWN: list[tuple[Any, dict[str, Any], str, str]] = [
    (ScoreRequest, {"traces": TRACES, "optoins": 1}, "optoins", "options"),
    (ScoreRequest, {"traces": TRACES, "options": {"segmentor": 1}}, "options.segmentor", "segmenter"),
    (
        ScoreRequest,
        {"traces": TRACES, "options": {"segmenter": {"kind": "markers", "max_episods": 1}}},
        "options.segmenter.max_episods",
        "max_episodes",
    ),
    (
        ScoreOptions,
        {"estimator": {"kind": "rollouts", "prior": {"chnge": 1}}},
        "estimator.prior.chnge",
        "change",
    ),
    (AdvantagesRequest, {"groups": [{"traces": TRACES}], "credit": {"alpa": 1}}, "credit.alpa", "alpha"),
    (AdvantagesRequest, {"groups": [{"traces": TRACES, "notess": []}]}, "groups.0.notess", "notes"),
    (Trace, {"id": "a", "probelm": "q"}, "probelm", "problem"),
    # What data sets call it, also where another name resembles it more.
    (Trace, {"id": "a", "question": "q"}, "question", "problem"),
    (Trace, {"id": "a", "problem": "q", "solution": "42"}, "solution", "answer"),
    (Trace, {"id": "a", "problem": "q", "response": "42"}, "response", "completion"),
    # A name that stands deeper in the record is more than one that resembles it.
    (ScoreRequest, {"traces": TRACES, "estimator": {"kind": "rollouts"}}, "estimator", "options.estimator"),
    (ScoreOptions, {"num_samples": 4}, "num_samples", "estimator.num_samples"),
    (AdvantagesRequest, {"groups": [{"traces": TRACES}], "alpha": 1}, "alpha", "credit.alpha"),
    (TrainingSettings, {"segmenter": {"kind": "tokens", "num_token": 3}}, "segmenter.num_token", "num_tokens"),
    (ServeSettings, {"keys": {"ann": {"sha256": "0" * 64, "scope": ["score"]}}}, "keys.ann.scope", "scopes"),
]


@pytest.mark.parametrize(("record", "data", "param", "near"), UNKNOWN)
def test_an_unknown_name_gets_the_nearest_of_its_record(record: Any, data: object, param: str, near: str) -> None:
    [found] = found_in(record, data)
    assert (found.param, found.message) == (param, f"this field is unknown; did you mean {near!r}?")
    assert str(found) == f"{param}: {found.message}"


def test_a_name_has_a_path_where_it_stands_only_once() -> None:
    found = {name: path_of(name, ScoreOptions) for name in ("estimator", "num_samples", "change", "kind", "zzz")}
    assert found == {
        "estimator": "estimator",
        "num_samples": "estimator.num_samples",
        "change": "estimator.prior.change",
        "kind": None,  # of the segmenter and of the estimator
        "zzz": None,
    }
    assert path_of("alpha", None) is None


def test_where_no_name_is_near_all_that_may_stand_there_are_listed() -> None:
    [found] = found_in(ScoreOptions, {"delimiters": {"zzz": 1}})
    assert found.message == "this field is unknown: expected one of open, close"
    [of_trace] = found_in(Trace, {"id": "a", "zzz": 1})
    assert of_trace.message.startswith("this field is unknown: expected one of id, completion, problem, ")
    assert of_trace.message.endswith("; put your own into metadata")


KINDS = "expected one of balanced, markers, paragraphs, tokens, explicit"


@pytest.mark.parametrize(
    ("record", "data", "param", "message"),
    [
        (ScoreOptions, {"segmenter": {"kind": "token"}}, "segmenter.kind", f"{KINDS}, got 'token'; did you mean 'tok"),
        (ScoreOptions, {"segmenter": {"kind": "zzz"}}, "segmenter.kind", f"{KINDS}, got 'zzz'"),
        (ScoreOptions, {"segmenter": {"knd": "tokens"}}, "segmenter.kind", f"{KINDS}, got none"),
        (ScoreOptions, {"segmenter": {"kind": 3}}, "segmenter.kind", f"{KINDS}, got "),
        (ScoreOptions, {"segmenter": "token"}, "segmenter", 'an object with its kind, such as {"kind": "tokens"}'),
        (ScoreOptions, {"segmenter": 3}, "segmenter", 'such as {"kind": "balanced"}, got 3'),
        (ScoreOptions, {"terminator": "boxd"}, "terminator", "expected one of boxed, official, qwen3, got 'boxd'; did"),
        (ScoreOptions, {"terminator": 3}, "terminator", "expected one of boxed, official, qwen3, got 3"),
        (TrainingSettings, {"baseline": None}, "baseline", "leave_one_out, termination, got null"),
        (ScoreOptions, {"delimiters": []}, "delimiters", "expected an object, got []"),
        (
            AdvantagesRequest,
            {"groups": [{"traces": TRACES}], "credit": {"credit": "zz"}},
            "credit.credit",
            "expected one of immediate, to_go, anytime, got 'zz'",
        ),
        (TrainingSettings, {"segmenter": {"kind": "token"}}, "segmenter.kind", f"{KINDS}, got 'token'; did you"),
        (TrainingSettings, {"alpha": -1}, "alpha", "expected a value greater than or equal to 0, got -1"),
        (TrainingSettings, {"url": 3}, "url", "expected a valid string, got 3"),
        (ServeSettings, {"keys": {"ann-b": {"sha256": "0"}}}, "keys.ann-b.sha256", "String should match pattern"),
        (
            Trace,
            {"id": "a", "problem": "q", "completion": [{"role": "assistant", "content": "42"}]},
            "completion",
            '"content": "42"}]; of a chat, give the content of its last turn alone',
        ),
        (Trace, {"id": "a", "problem": "q", "completion": ["42"]}, "completion", 'expected a valid string, got ["42"]'),
        (GetRewardRequest, {"query": [], "labels": []}, "query", "List should have at least 1 item"),
    ],
)
def test_a_value_is_named_with_what_may_stand_there(record: Any, data: object, param: str, message: str) -> None:
    found = {each.param: each.message for each in found_in(record, data)}
    assert message in found[param]


def test_of_a_union_only_the_alternative_that_fits_best_speaks() -> None:
    # A mapping is no misspelt name: the record's own fields are what is wrong.
    found = found_in(ScoreOptions, {"terminator": {"forced": "a", "natural": "b", "anwer": "free"}})
    assert [str(each) for each in found] == [
        "terminator.answer: expected a value, got none; did you write 'anwer' for it?",
        "terminator.anwer: this field is unknown; did you mean 'answer'?",
    ]


def test_a_missing_value_that_came_under_another_name_is_found_where_unknown_names_pass() -> None:
    [found] = found_in(GetRewardRequest, {"query": ["a"], "prompt": ["b"], "labels": ["x"]})
    assert str(found) == "prompts: expected a value, got none; did you write 'prompt' for it?"
    [bare] = found_in(GetRewardRequest, {"query": ["a"], "labels": ["x"]})
    assert bare.message == "expected a value, got none"


def test_paths_go_through_lists_and_records_within_records() -> None:
    found = found_in(ScoredTrace, {**SCORED, "episodes": [{"char_strt": 0}]})
    assert found[0].param == "episodes.0.char_start"
    assert found[0].message.endswith("did you write 'char_strt' for it?")


def test_without_a_record_the_path_stays_pydantics() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(ScoreOptions).validate_python({"delimiters": {"opn": "x"}})
    [found] = mistakes(caught.value.errors(), None)
    assert str(found) == "delimiters.opn: this field is unknown"


def test_what_is_wrong_as_a_whole_has_no_path() -> None:
    [found] = found_in(Trace, 3)
    assert (found.param, str(found)) == ("", "expected an object, got 3")


def test_nearness_is_measured_without_case_and_not_of_long_names() -> None:
    assert (nearest("URL", ["url"]), nearest("qqqq", ["alpha"])) == ("url", None)
    # difflib: 2 * 4 shared letters of 5 + 7 are 0.67.
    assert (nearest("timex", ["timeout"], 0.6), nearest("timex", ["timeout"], 0.7)) == ("timeout", None)
    name = "segmenter" + "x" * MAX_NAME_CHARS
    assert (nearest(name, [name]), did_you_mean(name, [name])) == (None, "")
    assert did_you_mean("alpa", ["alpha"]) == "; did you mean 'alpha'?"


def test_what_came_is_shown_as_json_in_a_line() -> None:
    assert [shown(each) for each in ("a", None, [1, "b"], {"c": True})] == ['"a"', "null", '[1, "b"]', '{"c": true}']
    assert shown("x" * 100) == '"' + "x" * (MAX_SHOWN - 1) + "…"
    assert shown(object()) == "object"
