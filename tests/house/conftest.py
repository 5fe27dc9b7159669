from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.house import shape


@pytest.fixture(scope="package", autouse=True)
def parsed_modules() -> Iterator[None]:
    """All trees of the project are shared by the tests of this folder, and are left to no other test."""
    yield
    shape.module_at.cache_clear()
