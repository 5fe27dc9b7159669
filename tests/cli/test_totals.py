"""The closing lines of `score`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from mrt_reward.cli.totals import Totals
from mrt_reward.types import Episode, ErrorInfo, ScoredTrace, Status, Value


def scored(*values: float | None, outcome: float | None = None, status: Status = Status.OK) -> ScoredTrace:
    progress = [None if first is None or then is None else then - first for first, then in pairwise(values)]
    return ScoredTrace(
        "1",
        status,
        outcome=outcome,
        values=tuple(Value(value) for value in values),
        episodes=tuple(Episode(0, 1, 0, 1, each) for each in progress),
    )


def test_means_are_of_all_traces_and_waste_of_all_episodes() -> None:
    totals = Totals()
    totals.add(0, scored(0.0, 0.5, 0.51, outcome=1.0))
    totals.skip(scored(0.5, 1.0, outcome=0.0))
    # First values 0 and 0.5, last ones 0.51 and 1; of the progresses 0.5, 0.01 and 0.5 one is below 0.02.
    assert list(totals.lines()) == [
        "1 ok, 0 partial, 0 failed, 1 already there",
        "value J, mean of 2 traces: 0.250 without thinking → 0.755 after all of it",
        "waste: 33.3% of 3 episodes have |progress| < 0.02",
        "outcome: 0.500, mean of 2 traces",
    ]


def test_traces_that_never_close_their_thinking_are_counted() -> None:
    totals = Totals()
    totals.add(1, replace(scored(0.5, 0.5, outcome=0.0), truncated=True))
    assert list(totals.lines())[1] == "value J, mean of 1 trace: 0.500 without thinking → 0.500 after all of it"
    assert list(totals.lines())[-1].startswith("cut off: 1 of 1 trace never close")
    totals.add(2, replace(scored(0.5, 0.5, outcome=1.0), truncated=False))
    *_, outcome, cut_off = totals.lines()
    assert outcome == "outcome: 0.500, mean of 2 traces, 1 of them cut off"
    assert cut_off.startswith("cut off: 1 of 2 traces never close")
    totals.add(3, replace(scored(0.5, 0.5, outcome=1.0), truncated=False))
    assert list(totals.lines())[-1] == "outcome: 0.667, mean of 3 traces, 1 of them cut off"


def test_what_is_missing_is_in_no_mean() -> None:
    totals = Totals()
    totals.add(4, scored(None, 0.5, 0.5, status=Status.PARTIAL))
    totals.add(5, ScoredTrace("bad", Status.ERROR, error=ErrorInfo("it broke", "ProverError", "prover_failed")))
    assert list(totals.lines()) == [
        "0 ok, 1 partial, 1 failed, 0 already there",
        "failed by code: prover_failed 1",
        "waste: 100.0% of 1 episodes have |progress| < 0.02",
    ]
    assert totals.first_error == "bad: it broke"
    assert totals.num_usable == 1


def test_the_first_error_is_the_first_of_the_input_and_codes_are_counted() -> None:
    totals = Totals()
    for index, code in ((5, "b"), (3, "a"), (4, "b")):
        totals.add(index, ScoredTrace(f"line-{index}", Status.ERROR, error=ErrorInfo(f"{code}!", "TraceError", code)))
    assert totals.first_error == "line-3: a!"
    assert list(totals.lines())[1] == "failed by code: a 1, b 2"


def test_provers_are_named_and_counted_where_they_are_several() -> None:
    totals = Totals()
    totals.skip(replace(scored(0.5, 0.5), prover="m@1"))
    assert "proved by m@1" in totals.lines()
    totals.add(0, replace(scored(0.5, 0.5), prover="m@2"))
    assert "proved by m@1 (1 trace), m@2 (1 trace)" in totals.lines()


def test_no_success_takes_five_wrong_traces_whose_values_stay_at_nothing() -> None:
    wrong = scored(0.0, 0.01, outcome=0.0)
    totals = Totals()
    for index in range(4):
        totals.add(index, wrong)
    assert not totals.no_success
    totals.add(4, wrong)
    assert totals.no_success
    totals.add(5, scored(0.0, 0.02, outcome=0.0))
    assert not totals.no_success
