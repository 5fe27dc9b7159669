"""The Python of the front page runs as it stands there, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_its_example_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```python\n(?P<code>.*?)```\n\n```\n(?P<printed>.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    exec(compile(found["code"], README, "exec"), {})
    assert capsys.readouterr().out == found["printed"]


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README.read_text())
    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []
