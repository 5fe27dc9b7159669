from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.report import ReportSpec, make_report, read_report
from mrt_reward.evaluation.summarising import summarise
from mrt_reward.evaluation.tally import Tally, terciles
from tests.evaluation.lines import line, write

# Points of `line`: x = 12, 16, 20 (prefix and two tokens of answer), values as given.
LENS = Lens(budgets=(18.0, 20.0))


def test_metrics_worked_by_hand(tmp_path: Path) -> None:
    rows = [
        line("a/0", [0.0, 0.5, 1.0], model="m", problem="a", outcome=1.0),
        line("a/1", [0.0, 0.0, 0.5], model="m", problem="a", outcome=0.0),
        line("b/0", [0.5, 0.5, 0.25], model="m", problem="b", outcome=0.0),
    ]
    report = read_report([write(tmp_path / "r.jsonl", *rows)], ReportSpec(LENS, budgets=(18.0,)))
    [model] = report.summary.models
    metrics = {name: each.value for name, each in model.metrics.items()}
    # Means over traces, then over problems: a has 0.75 at its end, b 0.25.
    assert (metrics["final"], metrics["empty"], metrics["outcome"]) == (0.5, 0.25, 0.25)
    # At 18: a has 0.75 and 0.25, b has 0.375.
    assert metrics["accuracy@18"] == pytest.approx((0.5 + 0.375) / 2, abs=1e-9)
    # Areas to 18. a/0: 0 to 12, 1 to 16, then from 0.5 to 0.75: 1.25; a/1: 0 and from 0 to 0.25: 0.25; b/0: 3, 2, and
    # from 0.5 to 0.375: 0.875. Of 18 each.
    areas = ((1.0 + 1.25 + 0.25) / 2 + 3.0 + 2.0 + 0.875) / 2
    assert metrics["regret@18"] == pytest.approx(1 - areas / 18, abs=1e-9)
    assert metrics["anytime@18"] == pytest.approx(areas / 18, abs=1e-9)
    # Episodes: a/0 gained twice; a/1 nothing, then gained; b/0 nothing, then lost.
    assert (metrics["zero"], metrics["negative"]) == pytest.approx(((0 + 0.5) / 2 / 2 + 0.25, 0.25))
    assert (metrics["episodes"], metrics["tokens"]) == (2.0, 8.0)
    # The mean curve is 0.25 at 12, (0.25 + 0.5)/2 at 16 and 0.5 at 20.
    assert metrics["tokens_to@0.5"] == pytest.approx(20.0, abs=1e-9)
    assert metrics["tokens_to@0.9"] is None
    assert (model.metrics["final"].problems, model.metrics["final"].traces) == (2, 3)
    # Without the answers themselves there is nothing to vote on.
    assert metrics["majority_regret"] is None
    assert "maj@2" not in model.curves


def test_each_curve_ends_where_the_longest_trace_of_its_model_does(tmp_path: Path) -> None:
    # Prefixes of 10 to 18 tokens and answers of 2: the longest trace of `short` ends at 16, of `long` at 20.
    rows = [
        line("a/0", [0.1, 0.3], model="short", problem="a"),
        line("a/0", [0.1, 0.2, 0.4], model="long", problem="a"),
        line("a/1", [0.1, 0.2], model="long", problem="a"),
    ]
    report = read_report([write(tmp_path / "r.jsonl", *rows)], ReportSpec(Lens((16.0, 20.0, 40.0))))
    ends = {model.name: model.curves["accuracy"].x[-1] for model in report.summary.models}
    assert ends == {"short": 16.0, "long": 20.0}
    # Metrics at a budget beyond the end are as they were: accuracy is constant from there.
    assert {model.curves["regret"].x[-1] for model in report.summary.models} == {16.0, 20.0}


def test_models_are_compared_on_the_problems_that_both_have(tmp_path: Path) -> None:
    rows = [line(f"{name}/0", [0.1, 0.2], model="one", problem=name) for name in "abc"]
    rows += [line(f"{name}/0", [0.1, 0.4], model="two", problem=name) for name in "bcd"]
    report = read_report([write(tmp_path / "r.jsonl", *rows)], ReportSpec())
    [difference] = report.summary.differences
    final = difference.metrics["final"]
    assert (difference.first, difference.second, final.problems, final.traces) == ("one", "two", 2, 4)
    assert (final.value, final.low, final.high) == pytest.approx((0.2, 0.2, 0.2))
    assert {model.problems for model in report.summary.models} == {3}


def test_thirds_of_problems_by_difficulty() -> None:
    third = terciles(np.array([0.9, np.nan, 0.1, 0.5, 0.1, 0.8, 0.6]))
    assert {name: rows.tolist() for name, rows in third.items()} == {"hard": [2, 4], "medium": [3, 6], "easy": [5, 0]}
    assert terciles(np.array([0.5, np.nan, 0.5])) == {}


def test_partial_traces_are_in_no_curve_and_are_counted(tmp_path: Path) -> None:
    rows = [line("a/0", [0.5, None], model="m", problem="a"), line("b/0", [0.5, 1.0], model="m", problem="b")]
    report = read_report([write(tmp_path / "r.jsonl", *rows)], ReportSpec(LENS, budgets=(18.0,)))
    [model] = report.summary.models
    assert report.caveats["m"].partial == 1
    assert model.metrics["accuracy@18"].problems == 1
    assert model.metrics["empty"].problems == 2


def test_what_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", "not json}", {"id": 1})
    with pytest.raises(ConfigError, match="2 lines are no results"):
        make_report([path], tmp_path, ReportSpec())
    with pytest.raises(ValueError, match="at least one scored trace"):
        summarise(Tally(Lens()))
    path = write(tmp_path / "r.jsonl", line("a", [0.5, 1.0]))
    with pytest.raises(ValueError, match="not all on the grid"):
        read_report([path], ReportSpec(budgets=(17.3,)))
    with pytest.raises(ValueError, match="budgets must be above 0"):
        Lens(budgets=(0.0,))
    with pytest.raises(ValueError, match="must increase from 1"):
        Lens(sizes=(2, 4))
    with pytest.raises(ValueError, match="must be at least 0 and at most 1"):
        Lens(waste_threshold=2.0)


def test_the_files_tell_the_same(tmp_path: Path) -> None:
    rows = [line(f"{index}/0", [0.0, index / 4], model="m|x", problem=str(index)) for index in range(4)]
    rows.append(rows[0])
    path = write(tmp_path / "r.jsonl", *rows, '{"id": "cut')
    written = make_report([path], tmp_path / "out", ReportSpec())
    assert [file.name for file in written][:3] == ["summary.json", "report.md", "report.html"]
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert record["models"][0]["metrics"]["final"]["value"] == pytest.approx(0.375)
    assert (record["notes"]["duplicates"], record["notes"]["cut"] + record["notes"]["malformed"]) == (1, 1)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| Accuracy at the end | 0.375 [" in text
    assert "m\\|x" in text
    assert "1 repeated traces were skipped" in text


def test_figures_are_drawn_for_papers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        line(f"{index}/0", [0.0, index / 4], model=model, problem=str(index))
        for index in range(4)
        for model in ("one", "_two $x$")
    ]
    written = make_report([write(tmp_path / "r.jsonl", *rows)], tmp_path / "out", ReportSpec(figures=True))
    names = {path.name for path in written if path.parent.name == "figures"}
    assert {
        f"{name}.{kind}"
        for name in ("accuracy", "regret", "frugal", "advancing", "progress")
        for kind in ("svg", "png")
    } == names
    assert (tmp_path / "out" / "figures" / "accuracy.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("num_problems", "verdict"), [(27, "too few problems to tell"), (30, "it still advances")])
def test_a_third_of_fewer_than_ten_problems_gets_no_verdict(tmp_path: Path, num_problems: int, verdict: str) -> None:
    rows = [
        line(f"{index}/0", [0.0, 0.1, 0.2 + index / 100], model="m", problem=str(index))
        for index in range(num_problems)
    ]
    make_report([write(tmp_path / "r.jsonl", *rows)], tmp_path / "out", ReportSpec())
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert f"gained in the last quarter of the thinking on hard problems: {verdict}." in text


def test_the_toolkit_is_there_by_name() -> None:
    from mrt_reward import evaluation  # noqa: PLC0415 - this import is what is tested

    for name in evaluation.__all__:
        assert getattr(evaluation, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        evaluation.__getattr__("nonsense")
