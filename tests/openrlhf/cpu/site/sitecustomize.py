"""Run by every Python process of a test's training run, Ray's and vLLM's included."""

from __future__ import annotations

import os

if os.environ.get("MRT_TEST_CPU"):
    from tests.openrlhf.cpu import shims

    shims.install()
