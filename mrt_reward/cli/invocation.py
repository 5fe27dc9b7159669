"""The call that is under way, as a report names it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from mrt_reward.evaluation.provenance import Invocation, without_folders
from mrt_reward.version import __version__

_KEY = re.compile(r'("\w*key"\s*:\s*)"[^"]*"')
"""A secret in settings that are given as JSON."""


def this_call(words: Sequence[str] | None = None) -> Invocation:
    """Date and command line, without the folders that its files lie in, and without keys.

    Args:
        words: of the command line, behind `mrt-reward`; None takes this process's.

    """
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
    shown = [_shown(word) for word in (sys.argv[1:] if words is None else words)]
    return Invocation(date, shlex.join(["mrt-reward", *shown]), __version__)


def _shown(word: str) -> str:
    flag, equals, value = word.partition("=")
    if word.startswith("--") and equals:
        return f"{flag}={_shown(value)}"
    return Path(word).name if word.startswith("/") and len(word) > 1 else without_folders(_KEY.sub(r'\1"…"', word))
