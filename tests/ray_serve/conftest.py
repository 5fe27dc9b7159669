"""These tests need Ray Serve, and run by `make test-serve`; the core environment has none."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.deploy.kit import DEPLOY
from tests.faults.table import Row, found_by, show
from tests.ray_serve.environment import ENVIRONMENT

HAS_SERVE = importlib.util.find_spec("ray") is not None and importlib.util.find_spec("grpc_reflection") is not None
"""veRL's environment has Ray, and not all that Serve needs."""

collect_ignore_glob = [] if HAS_SERVE else ["*"]

if HAS_SERVE:
    # Serve's status imports the policy.
    sys.path.insert(0, str(DEPLOY / "ray_serve"))
    os.environ.update(ENVIRONMENT)

    from tests.ray_serve.application import Application

    @pytest.fixture(scope="module")
    def application(tmp_path_factory: pytest.TempPathFactory) -> Generator[Application]:
        """The application of `deploy/ray_serve`, on a Ray cluster of this process, with one replica."""
        folder: Path = tmp_path_factory.mktemp("serve")
        with Application(folder).running() as application:
            yield application


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    return Row(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    show(terminalreporter, "Ray Serve", found_by(terminalreporter))
