"""The Python of the front page runs as it stands there; links of every page lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mrt_reward.wire import AdvantagesRequest, ScoreRequest
from mrt_reward.wire.refused import RefusedTrace

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDERS = ("adapters", "deploy", "mrt_reward", "tests")
PAGES = [*sorted(ROOT.glob("*.md")), *(page for name in FOLDERS for page in sorted((ROOT / name).rglob("*.md")))]


def test_its_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```python\n(?P<code>.*?)```\n\n```\n(?P<printed>.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    exec(compile(found["code"], README, "exec"), {})
    assert capsys.readouterr().out == found["printed"]


def test_bodies_of_requests_are_taken_as_they_stand_there() -> None:
    text = README.read_text(encoding="utf-8")
    trace = re.search(r"A TRACE is `(\{.*?\})`", text)
    assert trace is not None
    bodies = re.findall(
        r"^POST (\S+) +(\{.*?\})$(?=\nPOST|\n```)", text.replace("TRACE", trace[1]), re.MULTILINE | re.DOTALL
    )
    assert [route for route, _ in bodies] == ["/v1/score", "/v1/advantages"]
    score, advantages = (json.loads(body) for _, body in bodies)
    assert len(ScoreRequest.model_validate(score).traces) == 2
    [group] = AdvantagesRequest.model_validate(advantages).groups
    assert not any(isinstance(each, RefusedTrace) for each in group.traces)


def test_words_are_explained_once() -> None:
    assert [page for page in PAGES if "| word | meaning |" in page.read_text(encoding="utf-8")] == [README]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """Addresses of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_an_anchor_is_made_of_a_heading_as_github_does() -> None:
    assert anchors("## Long answers: progress of `log J`\n### See [this](x.md)") == {
        "long-answers-progress-of-log-j",
        "see-this",
    }
