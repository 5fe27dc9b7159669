from __future__ import annotations

from pathlib import Path

from mrt_reward.evaluation.contents import Contents, Notes, contents
from mrt_reward.evaluation.panels import Panel
from mrt_reward.evaluation.provenance import Invocation
from mrt_reward.evaluation.report import ReportSpec, read_report
from mrt_reward.evaluation.tables import Table
from tests.evaluation.lines import line, write

MADE = Invocation("2026-11-28 04:00", "mrt-reward report out", "1.2.3")


def contents_of(tmp_path: Path, *models: str, made: Invocation | None = MADE) -> Contents:
    rows = [
        line(f"{index}", [0.1, 0.2 + index / 10], model=model, problem=f"{index}")
        for model in models
        for index in range(4)
    ]
    report = read_report([write(tmp_path / "r.jsonl", *rows)], ReportSpec())
    return contents(report.summary, report.notes, report.caveats, report.facts, made)


def test_a_report_begins_with_the_question_that_it_answers_and_ends_with_its_notes(tmp_path: Path) -> None:
    one = contents_of(tmp_path, "m")
    anchors = [section.anchor for section in one.sections]
    assert anchors == ["budget", "models", "questions", "progress", "difficulty", "origin", "notes"]
    two = contents_of(tmp_path, "m", "n")
    assert [section.anchor for section in two.sections if section.anchor not in anchors] == ["differences"]
    assert (two.models, two.facts) == ("m, n", "4 problems, 8 traces")


def test_the_lead_says_which_data_and_when(tmp_path: Path) -> None:
    assert contents_of(tmp_path, "m").lead[0].endswith("Data: r.jsonl. Report of 2026-11-28 04:00 UTC.")
    assert contents_of(tmp_path, "m", made=None).lead[0].endswith("Data: r.jsonl.")


def test_no_section_holds_a_chart_without_a_point_or_a_table_of_uneven_rows(tmp_path: Path) -> None:
    for section in contents_of(tmp_path, "m", "n").sections:
        assert section.blocks
        for block in section.blocks:
            match block:
                case Panel():
                    assert block.chart.drawn
                case Table():
                    assert {len(row.cells) for row in block.rows} == {len(block.head)}
                case Notes():
                    assert block.lines
                case _:
                    pass
