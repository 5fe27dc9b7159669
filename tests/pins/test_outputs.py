from __future__ import annotations

import pytest

from tests.pins.outputs import FILES, OUTPUTS


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_what_users_see_changes_only_on_purpose(name: str) -> None:
    # Changed on purpose? `python -m tests.pins.outputs` writes the file anew; see its first lines.
    assert OUTPUTS[name]() == (FILES / name).read_text(encoding="utf-8")
