from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.types import Episode, ErrorInfo, Message, ScoredTrace, Status, Trace, Usage, Value
from mrt_reward.wire import TraceIn, TraceOut


@given(st.lists(st.integers(0, 2**31 - 1), max_size=20))
def test_ids_survive_the_wire(ids: list[int]) -> None:
    trace = Trace("t", prompt_ids=np.array(ids, np.int32), completion_ids=np.array(ids, np.int32), tokenizer="abc")
    again = TraceIn.model_validate_json(TraceIn.from_trace(trace).model_dump_json()).to_trace()
    assert again.prompt_ids is not None
    assert again.prompt_ids.tolist() == ids
    assert again.completion_ids is not None
    assert again.completion_ids.tolist() == ids


def test_a_trace_survives_the_wire() -> None:
    trace = Trace(
        "t",
        completion="<think>é</think>",
        messages=(Message("user", "Q"),),
        answer=("1", "one"),
        group="g",
        outcome=0.5,
        episodes=(0, 3),
        metadata={"a": [1]},
    )
    assert TraceIn.model_validate_json(TraceIn.from_trace(trace).model_dump_json()).to_trace() == trace


def test_a_scored_trace_survives_the_wire() -> None:
    scored = ScoredTrace(
        "t",
        Status.PARTIAL,
        outcome=1.0,
        values=(Value(0.5, 0.1, 0.3, 0.7, None, 1, 1, 0, 0), Value(None, None, None, None)),
        episodes=(Episode(0, 4, 0, 2, None, None),),
        prover="m@1",
        usage=Usage(3, 2, 1, 0),
        spellings=("1",),
        warnings=("w",),
        metadata={"x": None},
        error=ErrorInfo("m", "t", "c", "p"),
    )
    assert TraceOut.model_validate_json(TraceOut.from_scored(scored).model_dump_json()).to_scored() == scored


def test_blank_answers_are_no_answers() -> None:
    assert TraceIn(problem="q", completion="c", answer=" ").to_trace().answer == ()
    assert TraceIn(problem="q", completion="c", answer=["", "1"]).to_trace().answer == ("1",)
