"""These tests need TRL, and run by `make test-trl`; the core environment has none."""

from __future__ import annotations

import importlib.util
import os

collect_ignore_glob = ["*"] if importlib.util.find_spec("trl") is None else []

# Nothing is looked for on the hub; read when huggingface_hub is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
