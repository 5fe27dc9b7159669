"""These tests need OpenRLHF, and run by `make test-openrlhf`; the core environment has none."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.openrlhf.whole_run import WholeRun

if importlib.util.find_spec("openrlhf") is None:
    collect_ignore_glob = ["*"]
else:
    # What OpenRLHF imports of flash-attn, which is not there without a GPU.
    sys.path.append(str(Path(__file__).parent / "cpu" / "site"))
    os.environ.setdefault("DS_ACCELERATOR", "cpu")


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRun]:
    """A whole training run, which may still go on."""
    from tests.openrlhf.whole_run import whole_run  # noqa: PLC0415 - only where OpenRLHF is

    with whole_run(tmp_path_factory.mktemp("run")) as run:
        yield run


@pytest.fixture(scope="session", autouse=True)
def _begin(request: pytest.FixtureRequest) -> None:
    """Most of a run is processes that import OpenRLHF one after the other: it goes on beside all other tests."""
    if any("begun" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("begun")
