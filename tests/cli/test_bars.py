from __future__ import annotations

import io

import pytest
from rich.console import Console

from mrt_reward.cli.bars import bar


@pytest.mark.parametrize(("of_bytes", "shown"), [(False, "3/4"), (True, "3/4 bytes")])
def test_a_bar_says_what_is_done_how_much_and_how_long(of_bytes: bool, shown: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    with bar(console, of_bytes=of_bytes) as progress:
        progress.add_task("reading", total=4, completed=3)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert "reading" in written
    assert shown in written
    assert "left:" in written
