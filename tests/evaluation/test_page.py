from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from mrt_reward.evaluation.browser import MAX_EPISODE_CHARS, browser_json, clipped
from mrt_reward.evaluation.contents import RESTS_ON
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.report import ReportSpec, make_report
from mrt_reward.evaluation.traces import Results
from mrt_reward.evaluation.words import word_of
from tests.evaluation.chromium import EXECUTABLE, Chromium
from tests.evaluation.lines import line, write

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <!-- ]]> \u2028 </pre> ${alert(3)} &lt;b&gt;"


def evaluated(tmp_path: Path) -> Path:
    """Two models, six problems, everything that a model chooses as hostile as can be."""
    rows: list[dict[str, Any]] = []
    for index in range(6):
        for number in range(3):
            for model in ("base", f"tuned {HOSTILE}"):
                last = min(1.0, 0.2 * index + 0.1 * number + 0.3 * (model != "base"))
                row = line(f"{index}/{number}", [0.1, 0.3, last], model=model, problem=f"p{index}")
                row["trace"] |= {"problem": HOSTILE, "completion": HOSTILE, "answer": [HOSTILE]}
                row["warnings"] = [HOSTILE]
                answers = [{"text": HOSTILE, "verdict": "incorrect", "tokens": 2}] * 8
                row["values"] = [value | {"answers": answers} for value in row["values"]]
                rows.append(row)
    path = write(tmp_path / "results.jsonl", *rows)
    make_report([path], tmp_path / "out", ReportSpec())
    return tmp_path / "out" / "report.html"


def test_what_a_model_wrote_cannot_leave_its_element(tmp_path: Path) -> None:
    html = evaluated(tmp_path).read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    assert "onerror=alert(2)>" not in html
    data = re.search(r'id="trace-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    shown = json.loads(data[1])
    assert shown[0]["question"] == HOSTILE
    assert shown[0]["gold"] == [HOSTILE]
    assert "\u2028" not in data[1]
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown.replace("\\<", "")


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    html = evaluated(tmp_path).read_text(encoding="utf-8")
    before = html.split('id="trace-data"')[0]
    assert not re.search(r"(?:src|href)=[\"'](?!#)", before)
    assert "url(" not in before
    assert "default-src 'none'" in before


def test_the_browser_of_traces_is_bounded(tmp_path: Path) -> None:
    rows = [line(f"{number}", [0.1, 0.3], problem=f"p{number}") for number in range(20)]
    for row in rows:
        row["trace"]["completion"] = "x" * 1000
        row["episodes"][0]["char_end"] = 1000
    path = write(tmp_path / "r.jsonl", *rows)
    text, shown = browser_json(Results([path]), max_bytes=10_000)
    assert 0 < shown < 20
    assert len(text) <= 10_000
    assert len(json.loads(text)) == shown
    long = clipped("a" * MAX_EPISODE_CHARS + "b" * MAX_EPISODE_CHARS, MAX_EPISODE_CHARS)
    assert len(long) < MAX_EPISODE_CHARS + 100
    assert "6,000 characters left out" in long
    assert clipped("short", 10) == "short"


@pytest.mark.slow
@pytest.mark.skipif(not EXECUTABLE, reason="needs chromium: apt-get install chromium")
def test_the_page_works_in_a_real_browser(tmp_path: Path) -> None:
    html = evaluated(tmp_path)
    with Chromium(tmp_path / "profile") as browser:
        for width, dark in ((1200, False), (1200, True), (360, False)):
            browser.open(html, width=width, dark=dark)
            # Nothing is wider than the screen; tables scroll by themselves.
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate("document.querySelectorAll('main svg').length") > 6
        paper = "getComputedStyle(document.body).backgroundColor"
        browser.open(html, dark=True)
        dark_paper = browser.evaluate(paper)
        browser.open(html)
        assert browser.evaluate(paper) != dark_paper
        # By keyboard alone: the first stop skips to the report, and the traces can be walked through.
        browser.press("Tab")
        assert browser.evaluate("document.activeElement.className") == "skip"
        heading = "document.querySelector('#trace h3').textContent"
        assert browser.evaluate(heading) == "0/0"
        browser.evaluate("document.getElementById('next').focus()")
        browser.press("Enter")
        assert browser.evaluate(heading) == "0/1"
        browser.evaluate("document.getElementById('pick').focus()")
        assert browser.evaluate("document.querySelectorAll('#trace .episode').length") == 4
        assert browser.evaluate("document.querySelector('#trace .question').textContent") == HOSTILE
        assert browser.evaluate("document.querySelectorAll('#trace img, #trace script').length") == 0
        browser.evaluate("window.scrollTo(0, 0)")
        # A chart is read by its arrow keys, from the last point backwards, and falls silent when it loses the focus.
        reading = "document.querySelector('figure.chart .reading').innerText"
        hidden = "document.querySelector('figure.chart .reading').hidden"
        assert browser.evaluate(hidden)
        browser.evaluate("document.querySelector('figure.chart').focus()")
        browser.press("ArrowLeft")
        last = browser.evaluate(reading)
        assert "base: " in last
        browser.press("ArrowLeft")
        assert browser.evaluate(reading) != last
        browser.press("Escape")
        assert browser.evaluate(hidden)
        # And by pointer, at the nearest point.
        plot = "document.querySelector('figure.chart svg').getBoundingClientRect()"
        x, y = browser.evaluate(f"[{plot}.right - 20, {plot}.top + 60]")
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        assert browser.evaluate(reading) == last
        assert browser.errors == []
        assert set(browser.requests) == {html.resolve().as_uri()}


def test_the_page_explains_its_rows_and_its_words(tmp_path: Path) -> None:
    rows = [line(f"{index}", [0.1, 0.3], model="m", problem=f"{index}", outcome=1.0) for index in range(2)]
    spec = ReportSpec(Lens((16.0, 20.0)), budgets=(16.0, 20.0))
    make_report([write(tmp_path / "results.jsonl", *rows)], tmp_path, spec)
    html, markdown = (unescape((tmp_path / f"report.{kind}").read_text(encoding="utf-8")) for kind in ("html", "md"))
    # The first two look alike and differ: one answer is the prover's, one the trace's own.
    for metric in ("final", "outcome", "accuracy@16"):
        assert html.count(f"<small>{word_of(metric).meaning}</small>") == 1
        assert markdown.count(f"- {word_of(metric).title}: {word_of(metric).meaning}") == 1
    assert RESTS_ON in html


def test_a_report_says_on_top_who_proved_and_where_the_values_mean_nothing(tmp_path: Path) -> None:
    rows = [line("1", [0.1, 0.3], model="mine") | {"prover": "mini@0123"}]
    make_report([write(tmp_path / "results.jsonl", *rows)], tmp_path, ReportSpec())
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    message = "mine: the values of 1 traces mean nothing, because the bundled model proved them"
    assert markdown.index(message) < markdown.index("Values by mini@0123") < markdown.index("## Models")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.index(message) < html.index("Values by mini@0123") < html.index("<main")
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["caveats"]["mine"]["foreign"] == 1
    rows[0]["prover"] = "Qwen3-8B@0123"
    make_report([write(tmp_path / "results.jsonl", *rows)], tmp_path, ReportSpec())
    assert "mean nothing" not in (tmp_path / "report.md").read_text(encoding="utf-8")
