"""Logs as the gate writes them, whatever a server of another test has set."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged from here on."""
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured
