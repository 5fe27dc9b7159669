"""These tests need veRL, and run by `make test-verl`; the core environment has none."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = ["*"] if importlib.util.find_spec("verl") is None else []
