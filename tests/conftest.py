"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
import structlog
from hypothesis import settings

# How long an example takes says something about the machine's other work, and nothing about the code.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logs_as_before() -> Generator[None]:
    """What a test has logs written to is closed with the test, and whoever logs next would write to a closed file."""
    before = structlog.get_config() if structlog.is_configured() else None
    yield
    if before is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**before)
