"""The records of the HTTP contract, and their way to and from the pipeline's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mrt_reward.errors import TraceError
from mrt_reward.fields import encode_ids
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.types import Episode, ErrorInfo, Message, Posterior, ScoredTrace, Status, Trace, Usage, Value
from mrt_reward.wire import (
    AdvantagesRequest,
    RefusedTrace,
    ScoreRequest,
    ScoreResponse,
    read_scored,
    read_trace,
    scored_fields,
    sound_trace,
    trace_fields,
)

IDS = np.array([1, 2, 2**31 - 1], np.int32)


@pytest.mark.parametrize(
    "trace",
    [
        Trace(id="a", problem="q", completion="c", answer=("1", "2"), group="g", outcome=0.5, metadata={"k": [1]}),
        Trace(id="b", messages=(Message("user", "q"),), completion="c", episode_starts=(0, 3)),
        Trace(id="c", prompt="p", completion="c", tokenizer="sha"),
    ],
)
def test_a_trace_survives_the_wire(trace: Trace) -> None:
    sent = json.dumps(trace_fields(trace))
    assert "null" not in sent
    assert sound_trace(json.loads(sent)) == trace


def test_a_trace_of_ids_survives_the_wire() -> None:
    sent = trace_fields(Trace(id="a", prompt_ids=IDS, completion_ids=IDS, tokenizer="sha"))
    assert sent["prompt_ids"] == encode_ids(IDS)
    found = sound_trace(json.loads(json.dumps(sent)))
    assert found.prompt_ids is not None
    assert found.completion_ids is not None
    assert found.prompt_ids.tolist() == found.completion_ids.tolist() == IDS.tolist()


def test_ids_may_go_with_the_text_they_stand_for() -> None:
    fields = {"id": "t", "problem": "q", "prompt_ids": encode_ids(IDS), "completion": "c"}
    assert sound_trace(fields).problem == "q"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"completion": "c"}, "expected one of problem, messages, prompt, prompt_ids, got none"),
        ({"problem": "q", "prompt": "p", "completion": "c"}, "got problem and prompt"),
        ({"problem": "q"}, "expected completion or completion_ids"),
        ({"prompt_ids": "", "completion": "c"}, "prompt_ids"),
    ],
)
def test_fields_that_contradict_each_other_are_reported(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        sound_trace({"id": "t", **fields})


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
        {"id": "t", "problem": "q", "completion": "c", "episode_starts": [-1]},
        {"id": "t", "problem": "q", "completion": "c", "episodes": [0]},
    ],
)
def test_what_no_schema_allows_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read_trace(fields)


def test_a_scored_trace_survives_the_wire() -> None:
    scored = ScoredTrace(
        "t",
        Status.PARTIAL,
        outcome=1.0,
        values=(
            Value(0.5, 0.1, 0.3, 0.7, correct=1, incorrect=1, unparsed=0, ungraded=0, adaptive=True),
            Value(None, None, None, None),
        ),
        episodes=(Episode(0, 3, 0, 2, None, None),),
        prover="m@1",
        usage=Usage(1, 2, 3, 4),
        spellings=("42",),
        warnings=("w",),
        metadata={"k": None},
        error=ErrorInfo("m", "t", "c", "p"),
        posterior=Posterior((0.4, 0.5), ((0.1, 0.8), (0.2, 1.0)), (0.9,), (0.25,), ((-0.5, 0.75),)),
    )
    assert read_scored(json.loads(json.dumps(scored_fields(scored)))) == scored
    reply = ScoreResponse(traces=[scored]).model_dump_json()
    assert ScoreResponse.model_validate_json(reply).traces == [scored]


def test_a_scored_trace_leaves_its_notes_to_its_reply() -> None:
    assert "notes" not in scored_fields(ScoredTrace("t", Status.OK, notes=("n",)))


@pytest.mark.parametrize("name", ["outcome", "values", "episodes", "status", "id"])
def test_a_reply_that_lacks_a_part_is_no_scored_trace(name: str) -> None:
    fields = scored_fields(ScoredTrace("t", Status.OK, values=(Value(0.5),)))
    del fields[name]
    with pytest.raises(ValidationError, match=name):
        read_scored(fields)


def test_what_a_later_version_writes_into_a_file_is_skipped_and_in_a_reply_refused() -> None:
    fields = scored_fields(ScoredTrace("t", Status.OK, values=(Value(0.5),)))
    fields["colour"] = fields["values"][0]["colour"] = "red"
    assert read_scored(fields).values == (Value(0.5),)
    with pytest.raises(ValidationError, match="colour"):
        ScoreResponse.model_validate({"traces": [fields]})


def test_options_are_distinguished_by_their_kind() -> None:
    body: dict[str, Any] = {"traces": [{"id": "t"}], "options": {"estimator": {"kind": "rollouts", "num_samples": 4}}}
    assert ScoreRequest.model_validate(body).options == ScoreOptions(estimator=Rollouts("rollouts", num_samples=4))
    body["options"]["estimator"]["samples"] = 4
    with pytest.raises(ValidationError, match="samples"):
        ScoreRequest.model_validate(body)


def test_a_trace_of_a_group_is_scored_or_to_be_scored() -> None:
    traces = [{"id": "t", "outcome": None, "values": [0.5, None]}, {"id": "u", "problem": "q", "completion": "c"}]
    [group] = AdvantagesRequest.model_validate({"groups": [{"traces": traces}]}).groups
    assert group.traces == [
        ScoredTrace("t", Status.PARTIAL, values=(Value(0.5), Value(None))),
        Trace("u", problem="q", completion="c"),
    ]
    assert AdvantagesRequest(groups=[group]).groups == [group]


def test_the_short_form_of_a_scored_trace_says_how_much_is_there() -> None:
    traces = [{"id": index, "outcome": 1, "values": values} for index, values in enumerate([[], [0.5], [None, 1]])]
    [group] = AdvantagesRequest.model_validate({"groups": [{"traces": traces}]}).groups
    statuses = [(trace.id, trace.status) for trace in group.traces if isinstance(trace, ScoredTrace)]
    assert statuses == [("0", Status.ERROR), ("1", Status.OK), ("2", Status.PARTIAL)]


def test_a_trace_that_breaks_the_schema_keeps_its_id_and_metadata() -> None:
    body = {"traces": [{"id": 7, "problem": 1, "metadata": {"a": 1}}, None]}
    first, second = ScoreRequest.model_validate(body).traces
    assert isinstance(first, RefusedTrace)
    assert (first.id, first.metadata, first.error.param) == ("7", {"a": 1}, "problem")
    assert isinstance(second, RefusedTrace)
    assert (second.id, second.metadata) == ("", {})


def test_scored_is_traces_now() -> None:
    with pytest.raises(ValidationError, match="scored is traces now"):
        AdvantagesRequest.model_validate({"groups": [{"scored": [{"id": "t", "outcome": 1, "values": []}]}]})


def test_an_option_that_no_server_reads_is_refused_by_name() -> None:
    body = {"traces": [{"id": "t"}], "options": {"waste_threshold": 0.1}}
    with pytest.raises(ValidationError, match=r"options\.waste_threshold\n +Unexpected"):
        ScoreRequest.model_validate(body)


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
