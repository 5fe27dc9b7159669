"""Where every row has to run, one that skips fails the run and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

ROWS = """
import pytest
def test_runs(): pass
@pytest.mark.skipif(True, reason="no such program")
def test_skips(): raise AssertionError
@pytest.mark.xfail(reason="known", strict=True)
def test_fails_as_expected(): raise AssertionError
"""


def test_a_row_that_skips_fails_with_its_reason_and_others_stay_as_they_are(tmp_path: Path) -> None:
    rows = tmp_path / "test_rows.py"
    rows.write_text(ROWS)
    command = (sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-q", "-c", "/dev/null", str(rows))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 1 xfailed, 1 error" in done.stdout
    assert "skipped, where every row has to run: Skipped: no such program" in done.stdout
