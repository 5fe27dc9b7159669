from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.core.credit import outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import TraceError
from mrt_reward.options import Delimiters
from mrt_reward.training.alignment import PolicyTokens, answer_start
from mrt_reward.training.prefix import needed_value, prefix_advantages, prefix_metrics, read_prefixed, trained_part
from mrt_reward.training.records import Prefixed, Record, number_of
from mrt_reward.training.responses import Response
from tests.provers.conftest import byte_level

CONFIG = CreditConfig()


def test_both_halves_of_a_group_are_normalised_together() -> None:
    stop, go = Prefixed(7, stop=True, start=2), Prefixed(7)
    records = [
        Record(stop, outcome=1.0, num_tokens=4),
        Record(go, outcome=0.0, num_tokens=3),
        Record(Prefixed(8), outcome=1.0, num_tokens=3),
    ]
    got = prefix_advantages(records, CONFIG, termination=False)
    a, b = outcome_advantages(np.array([1.0, 0.0]), CONFIG)
    assert got[0] == pytest.approx([0, 0, a, a])
    assert got[1] == pytest.approx([b, b, b])
    assert got[2] == pytest.approx([1.0, 1.0, 1.0])


def test_the_termination_baseline_compares_with_the_prefix() -> None:
    records = [
        Record(Prefixed(1, 0.75), outcome=1.0, num_tokens=2),
        Record(Prefixed(1, 0.25), outcome=0.0, num_tokens=2),
    ]
    got = prefix_advantages([*records, Record(None, outcome=1.0, num_tokens=2)], CONFIG, termination=True)
    assert [values.tolist() for values in got] == [[0.25, 0.25], [-0.25, -0.25], [0.0, 0.0]]
    with pytest.raises(TraceError, match="needs the column mrt_value_prefix"):
        prefix_advantages([Record(Prefixed(1), outcome=1.0, num_tokens=2)], CONFIG, termination=True)


def test_a_row_that_had_to_stop_and_gave_no_answer_is_left_out_of_its_group() -> None:
    silent = Record(Prefixed(7, 0.5, stop=True, start=4), outcome=0.0, num_tokens=4)
    others = [Record(Prefixed(7, 0.5), outcome=1.0, num_tokens=2), Record(Prefixed(7, 0.5), outcome=0.0, num_tokens=2)]
    for termination in (False, True):
        [nothing, *got] = prefix_advantages([silent, *others], CONFIG, termination=termination)
        assert nothing.tolist() == [0.0] * 4
        assert [a.tolist() for a in got] == [
            a.tolist() for a in prefix_advantages(others, CONFIG, termination=termination)
        ]
    metrics = prefix_metrics([silent, *others])
    assert metrics["mrt/failed/unsupported"] == 1
    assert metrics["mrt/prefix/stop/rows"] == 0


def test_the_halves_are_logged_apart() -> None:
    records = [
        Record(Prefixed(7, 0.5, stop=True), outcome=1.0, num_tokens=4),
        Record(Prefixed(7), outcome=0.0, num_tokens=3),
        Record(None, outcome=1.0, num_tokens=2),
    ]
    metrics = prefix_metrics(records)
    assert metrics["mrt/prefix/stop/outcome"] == 1
    assert metrics["mrt/prefix/continue/outcome"] == 0
    assert metrics["mrt/prefix/value"] == 0.5
    assert metrics["mrt/failed/unsupported"] == 1
    assert "mrt/prefix/value" not in prefix_metrics(records[2:])
    unknown = prefix_metrics([Record(Prefixed(7), outcome=float("nan"), num_tokens=3), *records])
    assert unknown["mrt/prefix/continue/outcome"] == 0
    assert unknown["mrt/prefix/continue/rows"] == 2


@pytest.mark.parametrize(
    ("prompt", "text", "first"),
    [
        ("q<think>\n", "One.</think>42", "</think>"),
        ("q<think>\nOne.</think>", "42", "42"),
        ("q<think>\n", "One.", ""),
        ("q", "<think>\nOne.", ""),
    ],
)
def test_the_answer_starts_with_the_closing_delimiter(prompt: str, text: str, first: str) -> None:
    backend = byte_level()
    tokens = PolicyTokens(backend.to_str())
    ids = backend.encode(text, add_special_tokens=False).ids
    response = Response(backend.encode(prompt, add_special_tokens=False).ids, ids)
    start = answer_start(response, tokens, Delimiters())
    assert tokens.locate(ids[start:])[0].startswith(first)
    assert first or start == len(ids)


def test_a_row_of_a_dataset_says_its_group_its_value_and_whether_it_stops() -> None:
    row = {"prompt": "q", "mrt_group": "g", "mrt_value_prefix": np.float32(0.25), "mrt_stop": np.True_}
    assert read_prefixed(row, "row 1") == Prefixed(number_of("g"), 0.25, stop=True)
    for missing in ({}, {"mrt_value_prefix": None, "mrt_stop": None}, {"mrt_value_prefix": np.float32("nan")}):
        assert read_prefixed({"mrt_group": 7, **missing}, "row 1") == Prefixed(number_of("7"))


@pytest.mark.parametrize(
    ("columns", "param", "message"),
    [
        ({}, "mrt_group", "row 3 has no mrt_group, which mode=prefix needs"),
        ({"mrt_group": "g", "mrt_value_prefix": 1.5}, "mrt_value_prefix", r"row 3: .* must be in \[0, 1\], got 1.5"),
        ({"mrt_group": "g", "mrt_value_prefix": "0.5"}, "mrt_value_prefix", r"must be in \[0, 1\], got '0.5'"),
        # A text that says no is true to Python.
        ({"mrt_group": "g", "mrt_stop": "false"}, "mrt_stop", "row 3: mrt_stop must be true or false, got 'false'"),
    ],
)
def test_a_row_that_says_nothing_usable_is_refused(columns: dict[str, object], param: str, message: str) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        read_prefixed(columns, "row 3")
    assert caught.value.param == param


def test_a_value_is_needed_where_it_is_the_baseline() -> None:
    assert needed_value(Prefixed(1, 0.0)) == 0.0
    with pytest.raises(TraceError, match="baseline=termination needs the column mrt_value_prefix"):
        needed_value(Prefixed(1))


def test_a_row_that_stops_is_trained_from_its_answer_on() -> None:
    backend = byte_level()
    tokens = PolicyTokens(backend.to_str())

    def start(text: str, *, stop: bool) -> int | None:
        prompt, ids = (backend.encode(each, add_special_tokens=False).ids for each in ("q<think>\n", text))
        part = trained_part(Prefixed(1, 0.5, stop), Response(prompt, ids), tokens, Delimiters())
        assert part == Prefixed(1, 0.5, stop, part.start)
        trained = Record(part, outcome=1.0, num_tokens=len(ids)).trained
        return None if trained is None else trained.start

    assert start("One.</think>42", stop=False) == 0
    assert start("One.</think>42", stop=True) == len(backend.encode("One.", add_special_tokens=False).ids)
    assert start("One.", stop=True) is None
    assert start("One.", stop=False) == 0


def test_without_delimiters_all_of_a_response_is_the_answer() -> None:
    tokens = PolicyTokens(byte_level().to_str())
    assert answer_start(Response([1], [2, 3]), tokens, Delimiters("", "")) == 0
