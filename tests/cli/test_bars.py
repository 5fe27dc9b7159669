from __future__ import annotations

import io

import pytest
from rich.console import Console

from mrt_reward.cli.bars import bar, waiting


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


def test_an_error_before_the_first_piece_takes_the_line_that_waits_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    with bar(console) as progress:
        with pytest.raises(ValueError, match="none"), waiting(progress, "waiting", 4, 0):
            raise ValueError("none")
        assert not progress.tasks
        with waiting(progress, "waiting", 4, 0) as task:
            progress.update(task, description="scoring", advance=1)
        assert [each.completed for each in progress.tasks] == [1]
