"""The records of the HTTP contract, and their way to and from the pipeline's."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mrt_reward.errors import TraceError
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.types import Episode, ErrorInfo, Message, ScoredTrace, Status, Trace, Usage, Value
from mrt_reward.wire import AdvantagesRequest, ScoredGroup, ScoreRequest, TraceIn, TraceOut, UnscoredGroup
from mrt_reward.wire.traces import decode_ids, encode_ids

IDS = np.array([1, 2, 2**31 - 1], np.int32)


def test_ids_are_base64_of_little_endian_int32() -> None:
    # 1 and 258 = 0x0102 in four bytes each, low byte first.
    assert encode_ids(np.array([1, 258], np.int32)) == base64.b64encode(b"\1\0\0\0\2\1\0\0").decode()
    assert encode_ids(None) is None
    assert decode_ids(None, "x") is None


@given(st.lists(st.integers(0, 2**31 - 1), max_size=20))
def test_ids_survive_the_wire(ids: list[int]) -> None:
    text = encode_ids(np.array(ids, np.int32))
    assert text is not None
    found = decode_ids(text, "completion_ids")
    assert found is not None
    assert found.tolist() == ids
    TraceIn(id="t", completion_ids=text)


@pytest.mark.parametrize("text", ["AAA", "AAAA", "AAAAAAAA", "!!!!", "AAAAAAA="])
def test_what_is_no_list_of_int32_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValidationError, match="prompt_ids"):
        TraceIn(id="t", prompt_ids=text, completion="c")


@pytest.mark.parametrize("text", ["/////w==", "AAAA"])
def test_ids_that_are_no_tokens_name_their_field(text: str) -> None:
    with pytest.raises(TraceError, match="token_ends") as caught:
        decode_ids(text, "token_ends")
    assert caught.value.param == "token_ends"


@pytest.mark.parametrize(
    "trace",
    [
        Trace(id="a", problem="q", completion="c", answer=("1", "2"), group="g", outcome=0.5, metadata={"k": [1]}),
        Trace(id="b", messages=(Message("user", "q"),), completion="c", episodes=(0, 3)),
        Trace(id="c", prompt="p", completion="c", tokenizer="sha"),
    ],
)
def test_a_trace_survives_the_wire(trace: Trace) -> None:
    sent = TraceIn.from_trace(trace).model_dump_json(exclude_unset=True)
    assert "null" not in sent
    assert TraceIn.model_validate_json(sent).to_trace() == trace


def test_a_trace_of_ids_survives_the_wire() -> None:
    found = TraceIn.from_trace(Trace(id="a", prompt_ids=IDS, completion_ids=IDS, tokenizer="sha")).to_trace()
    assert found.prompt_ids is not None
    assert found.completion_ids is not None
    assert found.prompt_ids.tolist() == found.completion_ids.tolist() == IDS.tolist()


def test_ids_may_go_with_the_text_they_stand_for() -> None:
    assert TraceIn(id="t", problem="q", prompt_ids=encode_ids(IDS), completion="c").to_trace().problem == "q"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"completion": "c"}, "expected one of problem, messages, prompt, prompt_ids, got none"),
        ({"problem": "q", "prompt": "p", "completion": "c"}, "got problem and prompt"),
        ({"problem": "q"}, "expected completion or completion_ids"),
        ({"prompt_ids": "", "completion": "c"}, "prompt_ids"),
    ],
)
def test_fields_that_contradict_each_other_are_told(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(TraceError, match=told):
        TraceIn(id="t", **fields).to_trace()


@pytest.mark.parametrize(
    "fields",
    [
        {"problem": "q", "completion": "c"},
        {"id": "", "problem": "q", "completion": "c"},
        {"id": "t", "problem": "", "completion": "c"},
        {"id": "t", "problem": "q", "completion": "c", "outcome": float("nan")},
        {"id": "t", "problem": "q", "completion": "c", "colour": 1},
        {"id": "t", "messages": [], "completion": "c"},
        {"id": "t", "problem": "q", "completion": "c", "answer": True},
        {"id": "t", "problem": "q", "completion": "c", "episodes": [-1]},
    ],
)
def test_what_no_schema_allows_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TraceIn.model_validate(fields)


def test_a_scored_trace_survives_the_wire() -> None:
    scored = ScoredTrace(
        "t",
        Status.PARTIAL,
        outcome=1.0,
        values=(
            Value(0.5, 0.1, 0.3, 0.7, correct=1, incorrect=1, unparsed=0, ungraded=0),
            Value(None, None, None, None),
        ),
        episodes=(Episode(0, 3, 0, 2, None, None),),
        prover="m@1",
        usage=Usage(1, 2, 3, 4),
        spellings=("42",),
        warnings=("w",),
        metadata={"k": None},
        error=ErrorInfo("m", "t", "c", "p"),
    )
    assert TraceOut.model_validate_json(TraceOut.from_scored(scored).model_dump_json()).to_scored() == scored


def test_options_are_told_apart_by_their_kind() -> None:
    body: dict[str, Any] = {"traces": [{"id": "t"}], "options": {"estimator": {"kind": "rollouts", "num_samples": 4}}}
    assert ScoreRequest.model_validate(body).options == ScoreOptions(estimator=Rollouts("rollouts", num_samples=4))
    body["options"]["estimator"]["samples"] = 4
    with pytest.raises(ValidationError, match="samples"):
        ScoreRequest.model_validate(body)


def test_an_option_that_no_server_reads_is_refused_by_name() -> None:
    body = {"traces": [{"id": "t"}], "options": {"waste_threshold": 0.1}}
    with pytest.raises(ValidationError, match=r"options\.waste_threshold\n +Unexpected"):
        ScoreRequest.model_validate(body)


def test_a_group_is_scored_or_to_be_scored() -> None:
    scored = {"scored": [{"id": "t", "outcome": None, "values": [0.5, None]}]}
    request = AdvantagesRequest.model_validate({"groups": [scored, {"traces": [{"id": "t"}]}]})
    assert isinstance(request.groups[0], ScoredGroup)
    assert isinstance(request.groups[1], UnscoredGroup)
    assert AdvantagesRequest(groups=request.groups).groups == request.groups


@pytest.mark.parametrize(
    "options",
    [{"estimator": {"kind": "rollouts", "seed": True}}, {"segmenter": {"kind": "balanced", "min_chars": True}}],
)
def test_true_is_no_number_of_an_option(options: dict[str, Any]) -> None:
    body = {"traces": [{"id": "t", "problem": "q", "completion": "c"}], "options": options}
    with pytest.raises(ValidationError, match="expected no boolean, got true"):
        ScoreRequest.model_validate(body)
    kept = {"estimator": {"kind": "rollouts", "keep_answers": True}}
    assert ScoreRequest.model_validate({**body, "options": kept}).options is not None
