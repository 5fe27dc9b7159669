"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator

import pytest
import structlog
from hypothesis import settings

# How long an example takes says something about the machine's other work, and nothing about the code.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")

NUM_THREADS = int(os.environ.get("OMP_NUM_THREADS") or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """How many threads torch has is one number for a process: who trains with two does not leave them to later tests.

    Where cores are busy, two take ten times as long as one.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(NUM_THREADS)


@pytest.fixture(autouse=True)
def default_logs() -> Generator[None]:
    """Each test logs by the defaults: a server in the process, of another test or of a module, sets its own for all.

    It may have turned its log off, or write to a file that was closed with its test.
    """
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
