"""These tests need OpenRLHF, and run by `make test-openrlhf`; the core environment has none."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

if importlib.util.find_spec("openrlhf") is None:
    collect_ignore_glob = ["*"]
else:
    # What OpenRLHF imports of flash-attn, which is not there without a GPU.
    sys.path.append(str(Path(__file__).parent / "cpu" / "site"))
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
