from __future__ import annotations

import pytest

from mrt_reward.evaluation.charts import Axes, Chart, Mark, Series
from mrt_reward.evaluation.contents import Contents, Heading, Notes, Section
from mrt_reward.evaluation.markdown import markdown, plain
from mrt_reward.evaluation.panels import Panel
from mrt_reward.evaluation.tables import Cell, Row, Table

CHART = Chart("lines", Axes("t", "x", "y"), (Series("a", [Mark(1.0, 1.0)]),))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b <b> [x](y) *z* `c`", r"a\|b \<b\> [x\](y) \*z\* \`c\`"),
        ("a mean of 0.9 [0.795, 0.942]", "a mean of 0.9 [0.795, 0.942]"),
        ("[a][b], [a]: b", r"[a\][b], [a\]: b"),
        ("[x] no task", r"\[x] no task"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("---", r"\---"),
        ("0.375, -0.1 and +2", "0.375, -0.1 and +2"),
        ("0.890 [0.795, 0.942], -37 [-43, -32]", "0.890 [0.795, 0.942], -37 [-43, -32]"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_shown_as_it_is(text: str, written: str) -> None:
    assert plain(text) == written


def test_blocks_are_written_one_below_the_other_and_a_chart_as_what_it_says() -> None:
    table = Table(("m",), (Row("Accuracy", (Cell("+0.1", "[+0.0, +0.2]", verdict="better"),), "The mean."),))
    panel = Panel("p", "Title?", "How to read it.", CHART, ("m: yes.",))
    silent = Panel("q", "No answers", "How to read it.", CHART)
    blocks = ("A text.", Heading("Part"), table, panel, silent, Notes(("One.", "Two.")))
    report = Contents("What?", "m", "1 problems", ("Beware.",), ("Lead.",), (Section("a", "Section", blocks),))
    assert markdown(report) == (
        "# What?\n\nm: 1 problems\n\n**Beware.**\n\nLead.\n\n## Section\n\nA text.\n\n### Part\n\n"
        "|  | m |\n| --- | --- |\n| Accuracy | **+0.1** [+0.0, +0.2] better |\n\n- Accuracy: The mean.\n\n"
        "### Title?\n\nm: yes.\n\nHow to read it.\n\n- One.\n- Two.\n"
    )


def test_a_section_of_charts_without_answers_is_left_out() -> None:
    panel = Panel("q", "No answers", "How to read it.", CHART)
    report = Contents("What?", "m", "1 problems", (), (), (Section("a", "Section", (panel,)),))
    assert "Section" not in markdown(report)
