"""What may be sent: JSON as the server takes it, and nothing else."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.client import AsyncClient
from mrt_reward.client.bodies import advantages_body, score_body, write_all, written
from mrt_reward.errors import RequestRejected
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Status, Trace
from mrt_reward.wire import AdvantagesRequest, ScoreRequest
from tests.server.conftest import TRACE, live_server


@dataclass
class Thing:
    number: int = 1


class Colour(Enum):
    RED = 1


def cycle() -> dict[str, object]:
    found: dict[str, object] = {}
    found["itself"] = [found]
    return found


def nested(depth: int, *, lists: bool = False) -> object:
    found: object = 1
    for _ in range(depth):
        found = [found] if lists else {"a": found}
    return found


def tensor() -> object:
    torch = pytest.importorskip("torch")
    return torch.tensor([1.0])


NO_JSON: dict[str, object] = {
    "numpy float": np.float32(1.5),
    "numpy integer": np.int64(3),
    "numpy bool": np.bool_(True),
    "numpy array": np.zeros(2),
    "torch tensor": tensor,
    "bytes": b"x",
    "bytearray": bytearray(b"x"),
    "object": object(),
    "dataclass": Thing(),
    "enum": Colour.RED,
    "function": len,
    "class": int,
    "set": {1},
    "generator": (number for number in range(2)),
    "date": datetime.now(timezone.utc),
    "path": Path("x"),
    "decimal": Decimal(1),
    "complex": 1j,
    "Ellipsis": ...,
    "lone surrogate": "a\ud800",
    "lone surrogate in a key": {"\udfff": 1},
    "number as a key": {1: 2},
    "cycle": cycle(),
    "deep": nested(70),
    "deep list": nested(70, lists=True),
    "very deep": nested(100_000),
    "5,000 digits": 10**5000,
    "-5,000 digits": -(10**5000),
    "NaN": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "numpy NaN": np.float64("nan"),
}


@pytest.mark.parametrize("kind", NO_JSON)
@pytest.mark.parametrize("where", ["at the top", "below"])
def test_metadata_that_is_no_json_is_refused_and_the_field_named(kind: str, where: str) -> None:
    found = NO_JSON[kind]
    bad = tensor() if found is tensor else found
    metadata: dict[str, Any] = {"fine": 1, "bad": bad if where == "at the top" else [{"x": bad}]}
    for trace in ({**TRACE, "metadata": metadata}, Trace(id="t", completion="c", metadata=metadata)):
        with pytest.raises(RequestRejected) as caught:
            written(trace, 3)
        assert str(caught.value.param).startswith("traces.3.metadata")
        assert "bad" in str(caught.value) or "deep" in str(caught.value) or "itself" in str(caught.value)
        assert str(caught.value).isascii()
    request = AdvantagesRequest.model_validate({"groups": [{"traces": [{**TRACE, "metadata": metadata}]}]})
    with pytest.raises(RequestRejected, match=r"groups\.0\.traces\.0\.metadata"):
        advantages_body(request)


@pytest.mark.parametrize(
    "trace",
    [
        None,
        7,
        "text",
        [("problem", "q")],
        {1: 2},
        {"problem": "\ud800", "completion": "c"},
        {"problem": "q", "completion": b"\xff"},
        {"problem": "q", "completion": np.zeros(2)},
        {"problem": "q", "completion": "c", "outcome": math.nan},
        {"problem": "q", "completion": "c", "id": 7.5},
        {"problem": "q", "completion": "c", "metadata": None},
        Trace(id="t", completion="c", metadata=None),  # type: ignore[arg-type]
        Trace(id="t", completion="c", prompt_ids="no ids"),  # type: ignore[arg-type]
        Trace(id="t", completion=7),  # type: ignore[arg-type]
        Trace(id="t", completion="c", episode_starts=7),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_trace_is_refused(trace: object) -> None:
    with pytest.raises(RequestRejected, match=r"traces\.2"):
        written(trace, 2)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("estimator", "this is an option of scoring, not a field of a trace: give it as options.estimator beside"),
        ("episodes", "this field is episode_starts now"),
        ("completoin", "this field is unknown; did you mean 'completion'?"),
    ],
)
def test_a_field_that_a_trace_does_not_have_is_said_to_be_where_it_belongs(name: str, what: str) -> None:
    with pytest.raises(RequestRejected, match=rf"^traces\.2\.{name}: {re.escape(what)}"):
        written({**TRACE, name: {}}, 2)


def test_an_id_that_stands_twice_in_a_call_is_refused_before_anything_is_sent() -> None:
    # The third trace has no id, so that its index is it.
    for traces, index, first in (
        ([{**TRACE, "id": "a"}, {**TRACE, "id": "b"}, {**TRACE, "id": "a"}], 2, 0),
        (
            [TRACE | {"id": 2}, TRACE | {"id": "b"}, {name: value for name, value in TRACE.items() if name != "id"}],
            2,
            0,
        ),
    ):
        with pytest.raises(
            RequestRejected, match=rf"^traces\.{index}\.id: '.' is the id of traces\.{first} too: give"
        ) as e:
            write_all(traces)
        assert (e.value.code, e.value.param) == ("duplicate_id", f"traces.{index}.id")
    assert [trace.id for trace in write_all([{**TRACE, "id": "a"}, {**TRACE, "id": "b"}])] == ["a", "b"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    # The server takes any text but lone surrogates.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=3))
def test_json_is_sent_as_it_is(metadata: dict[str, object]) -> None:
    trace = written({**TRACE, "id": "mine", "metadata": metadata}, 0)
    body = score_body([trace, trace], ScoreOptions(), ["0", 'odd " id'])
    request = ScoreRequest.model_validate(json.loads(body))
    assert [sent.id for sent in request.traces] == ["0", 'odd " id']
    assert request.traces[0].metadata == metadata
    assert request.traces[0].completion == TRACE["completion"]


def test_subclasses_of_json_types_are_sent_as_these() -> None:
    metadata = {"number": np.float64(1.5), "text": np.str_("x"), "pair": (1, 2), "fields": OrderedDict(a=1)}
    sent = json.loads(written({**TRACE, "metadata": metadata}, 0).as_json("0"))
    assert sent["metadata"] == {"number": 1.5, "text": "x", "pair": [1, 2], "fields": {"a": 1}}


def test_a_trace_that_has_an_id_alone_is_sent_for_the_server_to_judge() -> None:
    assert written(Trace("x"), 0).as_json("y") == b'{"id":"y"}'


async def test_the_server_takes_what_the_client_lets_pass_and_returns_it() -> None:
    deepest = {"a": nested(59)}
    long = {"digits": 10**308}
    async with live_server() as live, AsyncClient(live.url) as client:
        for metadata in (deepest, long, {"lists": nested(59, lists=True)}):
            [scored] = await client.score([{**TRACE, "metadata": metadata}])
            assert (scored.status, scored.metadata) == (Status.OK, metadata)
            paid = await client.advantages({"groups": [{"traces": [{**TRACE, "metadata": {"a": nested(57)}}]}]})
            assert paid.groups[0][0].scored
        with pytest.raises(RequestRejected, match="levels deep"):
            await client.score([{**TRACE, "metadata": {"a": nested(60)}}])
        with pytest.raises(RequestRejected, match="levels deep"):
            await client.advantages({"groups": [{"traces": [{**TRACE, "metadata": {"a": nested(58)}}]}]})
