"""The test of a release finds what is wrong, and nothing where all is well."""

from __future__ import annotations

import pytest

from tests.smoke import VALUES, scored, try_command


async def test_the_trace_of_the_release_is_scored_as_its_script_says() -> None:
    found = await scored()
    assert (found.outcome, [each.value for each in found.values]) == (1.0, VALUES)


def test_a_command_that_fails_or_answers_otherwise_is_found() -> None:
    with pytest.raises(AssertionError, match="--no-such-flag ended with 2"):
        try_command({("--no-such-flag",): ""})
    with pytest.raises(AssertionError, match="expected 'other words'"):
        try_command({("--version",): "other words"})
